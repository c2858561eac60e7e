//! Plays what happens in a run, to the gateway and to the model.

use std::sync::Arc;

use proptest::sample::Index;

use super::{
    follower::{Follower, Read},
    log::Delivery,
    opening::{ask_for_everything, keep, open, open_amid, probe},
    operation::{Case, News, Operation, Settling, TOO_LONG},
    world::World,
};
/// Plays a run to its end.
pub async fn play(case: Case) {
    let mut world = World::begin(case.retention_kib).await;
    for operation in case.operations {
        step(&mut world, operation).await;
    }
    for follower in std::mem::take(&mut world.followers) {
        read_on(&world, follower, usize::MAX).await;
    }
    ask_for_everything(&mut world).await;
    for wish in case.probes {
        probe(&mut world, wish).await;
    }
    world.end().await;
}

async fn step(world: &mut World, operation: Operation) {
    match operation {
        Operation::Deliver(news) => {
            let delivery = delivery(world, &news);
            world.deliver(delivery).await;
        }
        Operation::DeliverAgain(which) => deliver_again(world, which).await,
        Operation::Burst(count, news) => {
            for _ in 0..count {
                let delivery = delivery(world, &news);
                world.deliver(delivery).await;
            }
        }
        Operation::Open(wish) => {
            let subscriber = world.new_subscriber().await;
            let follower = open(world, &subscriber, wish).await;
            keep(world, follower);
        }
        Operation::OpenAmid(wish, count) => open_amid(world, wish, count).await,
        Operation::Read(who, count) => read(world, who, count).await,
        Operation::Close(who) => {
            if !world.followers.is_empty() {
                let place = who.index(world.followers.len());
                world.followers.remove(place);
            }
        }
        Operation::Pass(time, settling) => {
            world.pass(time);
            settle(world, settling).await;
        }
        Operation::Empty { restarts } => {
            world.pass(TOO_LONG);
            world.wait_for_trim().await;
            if restarts {
                world.restart().await;
            }
        }
        Operation::SetBack(time) => world.pass(-time),
        Operation::Restart => world.restart().await,
        Operation::Crash => world.crash().await,
        Operation::Backup => world.back_up(),
        Operation::Restore => world.restore().await,
    }
}

/// An event that nobody has seen before.
pub fn delivery(world: &World, news: &News) -> Arc<Delivery> {
    Arc::new(Delivery::of(news, world.sent.len()))
}

async fn deliver_again(world: &mut World, which: Index) {
    if !world.sent.is_empty() {
        let delivery = Arc::clone(&world.sent[which.index(world.sent.len())]);
        world.deliver(delivery).await;
    }
}

/// What is too old goes, so that the model knows what there is.
async fn settle(world: &mut World, settling: Settling) {
    if !world.log.is_too_old(world.now()) {
        return;
    }
    match (settling, world.sent.last().cloned()) {
        (Settling::DeliverAgain, Some(last)) => world.deliver(last).await,
        (Settling::Nothing, _) => {}
        _ => {
            let news = News {
                kind: 0,
                subject: 1,
                screening: 1,
                has_id: true,
                padding: 0,
            };
            let delivery = delivery(world, &news);
            world.deliver(delivery).await;
        }
    }
    if world.log.is_too_old(world.now()) {
        world.wait_for_trim().await;
    }
}

/// One subscriber reads as many messages as there have to be, up to `count`.
async fn read(world: &mut World, who: Index, count: usize) {
    if !world.followers.is_empty() {
        let place = who.index(world.followers.len());
        let follower = world.followers.remove(place);
        if let Some(follower) = read_on(world, follower, count).await {
            world.followers.insert(place, follower);
        }
    }
}

/// The same of this one; `None` when the stream is over.
async fn read_on(world: &World, mut follower: Follower, count: usize) -> Option<Follower> {
    let mut left = count;
    while left > 0 && follower.is_due(&world.log) {
        if follower.read(&world.log).await == Read::End {
            world.assert_known(&follower.tokens);
            return None;
        }
        left -= 1;
    }
    world.assert_known(&follower.tokens);
    Some(follower)
}
