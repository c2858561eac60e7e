//! Plays what happens in a run, to the gateways and to the model.

use std::sync::Arc;

use proptest::sample::Index;

use super::{
    follower::{Follower, Read},
    lives::Going,
    log::Delivery,
    opening::{ask_for_everything, come, open, open_amid, open_behind, probe},
    operation::{Case, News, Operation, Settling, Step, TOO_LONG},
    world::World,
};

/// Plays a run to its end.
pub async fn play(case: Case) {
    let mut world = World::begin(case.place, case.retention_kib).await;
    for Step {
        landings,
        operation,
    } in case.steps
    {
        world.landings = landings;
        step(&mut world, operation).await;
    }
    world.landings = case.landings;
    for follower in std::mem::take(&mut world.followers) {
        read_on(&mut world, follower, usize::MAX).await;
    }
    ask_for_everything(&mut world).await;
    for wish in case.probes {
        probe(&mut world, wish).await;
    }
    world.end().await;
}

async fn step(world: &mut World, operation: Operation) {
    match operation {
        Operation::Deliver(news) => deliver(world, 1, &news).await,
        Operation::DeliverAgain(which) => deliver_again(world, which).await,
        Operation::Burst(count, news) => deliver(world, count, &news).await,
        Operation::Open(wish) => open(world, wish).await,
        Operation::OpenAmid(wish, count) => open_amid(world, wish, count).await,
        Operation::OpenBehind(wish, count) => open_behind(world, wish, count).await,
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
            empty(world).await;
            if restarts {
                restart(world, 0).await;
            }
        }
        Operation::SetBack(time) => world.set_back(time),
        Operation::Restart(count) => restart(world, count).await,
        Operation::Crash => world.crash().await,
        Operation::Backup => world.back_up(),
        Operation::Restore => world.restore().await,
        Operation::Outdate(which) => {
            // The newest stays: a log that is emptied has kept where it ended long before its last event gets too old.
            let old = (world.log.head() - world.log.trimmed).saturating_sub(1);
            if old > 0 {
                let up_to = world.log.trimmed + 1 + which.index(old);
                world.outdate(up_to).await;
            }
        }
        Operation::Leave(going) => leave(world, going).await,
        Operation::Kill => {
            leave(world, Going::Killed).await;
            world.come_back().await;
        }
        Operation::ComeBack => world.come_back().await,
        Operation::LoseNats(news) => world.lose_nats(&news).await,
    }
}

/// An event that nobody has seen before.
pub fn delivery(world: &World, news: &News) -> Arc<Delivery> {
    Arc::new(Delivery::of(news, world.sent.len()))
}

async fn deliver(world: &mut World, count: usize, news: &News) {
    for _ in 0..count {
        let delivery = delivery(world, news);
        world.deliver(delivery).await;
    }
}

async fn deliver_again(world: &mut World, which: Index) {
    if !world.sent.is_empty() {
        let delivery = Arc::clone(&world.sent[which.index(world.sent.len())]);
        world.deliver(delivery).await;
    }
}

/// What is too old goes, so that the model knows what there is.
async fn settle(world: &mut World, settling: Settling) {
    if !world.log.is_too_old(world.now(0)) {
        return;
    }
    match (settling, world.sent.last().cloned()) {
        (Settling::DeliverAgain, Some(last)) => world.deliver(last).await,
        (Settling::Nothing, _) => {}
        _ => {
            let news = News::plain();
            deliver(world, 1, &news).await;
        }
    }
    if world.log.is_too_old(world.now(0)) {
        world.wait_for_trim(0).await;
    }
}

/// Nothing is kept any more, and every gateway shows that.
async fn empty(world: &mut World) {
    if world.setting.place.is_on_nats() {
        // The server drops by age what all that are there have long seen.
        world.come_back().await;
        world.wait_for_heads().await;
        world.outdate(world.log.head()).await;
    }
    for number in 0..world.gateways.len() {
        world.wait_for_trim(number).await;
    }
}

/// A gateway goes in order and comes back, and so do its subscribers.
async fn restart(world: &mut World, count: usize) {
    leave(world, Going::InOrder(count)).await;
    world.come_back().await;
}

/// A gateway goes. Its subscribers come back with their tokens, at another one where there is one.
async fn leave(world: &mut World, going: Going) {
    let left = world.leave(going).await;
    if world.gateways.iter().all(Option::is_none) {
        world.come_back().await;
    }
    for follower in left {
        come(world, follower.again()).await;
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
async fn read_on(world: &mut World, mut follower: Follower, count: usize) -> Option<Follower> {
    let mut left = count;
    while left > 0 && follower.is_due(&world.log) {
        if follower.read(&world.log).await == Read::End {
            world.assert_known(&follower.tokens);
            return None;
        }
        left -= 1;
    }
    world.has_shown(follower.at, follower.shown());
    world.assert_known(&follower.tokens);
    Some(follower)
}
