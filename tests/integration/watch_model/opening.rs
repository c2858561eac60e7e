//! How a stream begins, or fails to: what the gateway says to a request, and what the model says.

use kora_gateway::pb::watch_events_request::Start;
use tonic::Code;

use super::{
    asking::{asked, begin_of},
    follower::{Follower, Read},
    log::Begin,
    operation::{News, Wish, WishedStart},
    script::delivery,
    world::World,
};
use crate::subscriber::{Subscriber, assert_failure};

/// How many subscribers there are at a time.
const MAX_FOLLOWERS: usize = 6;

/// Keeps a subscriber that has come.
pub fn keep(world: &mut World, follower: Option<Follower>) {
    if let Some(follower) = follower {
        world.assert_known(&follower.tokens);
        if world.followers.len() == MAX_FOLLOWERS {
            world.followers.remove(0);
        }
        world.followers.push(follower);
    }
}

/// Opens a stream; `None` where it had to fail, and did.
pub async fn open(world: &mut World, subscriber: &Subscriber, wish: Wish) -> Option<Follower> {
    let (request, wanted) = asked(world, wish);
    let begin = begin_of(world, &request.start);
    let asked = match &request.start {
        Some(Start::ResumeToken(token)) => token.clone(),
        _ => world.log.first_token.clone(),
    };
    let lost = match begin {
        Begin::Expired if !wanted.skips_gaps => Some("TOKEN_EXPIRED"),
        Begin::Foreign if !wanted.skips_gaps => Some("TOKEN_FOREIGN"),
        _ => None,
    };
    let opened = subscriber.watch(request.clone()).await;
    let head = world.log.head();
    match (opened, lost) {
        (Err(status), Some(reason)) => {
            let info = assert_failure(&status, Code::OutOfRange, reason);
            let oldest = info.metadata.get("oldest_token").map(String::as_str);
            let is_expired = begin == Begin::Expired;
            assert_eq!(
                oldest,
                is_expired.then(|| world.log.token(world.log.trimmed))
            );
            None
        }
        (Ok(mut stream), None) => {
            let first = stream.message().await;
            let begin = (begin, asked.as_str());
            Some(Follower::new(
                (stream, first),
                wanted,
                begin,
                &world.log,
                (head, head),
            ))
        }
        (Ok(_), Some(reason)) => panic!("{reason} was due: {request:?}"),
        (Err(status), None) => panic!("{status:?} for {request:?}, {begin:?}"),
    }
}

/// The head moves while the stream is opened.
pub async fn open_amid(world: &mut World, mut wish: Wish, count: usize) {
    // Where it is to begin has to be certain all the same.
    let is_certain = matches!(
        wish.start,
        WishedStart::Latest | WishedStart::Unset | WishedStart::Token(_)
    );
    if !is_certain {
        wish.start = WishedStart::Latest;
    }
    let (request, wanted) = asked(world, wish);
    let before = (world.log.head(), world.log.trimmed);
    let asked_at = begin_of(world, &request.start);
    let Begin::At(_) = asked_at else { return };
    let subscriber = world.new_subscriber().await;
    let is_latest = !matches!(request.start, Some(Start::ResumeToken(_)));
    let opening = tokio::spawn(async move {
        let mut stream = subscriber.watch(request).await?;
        let first = stream.message().await;
        Ok((stream, first))
    });
    let news = News {
        kind: 0,
        subject: 1,
        screening: 2,
        has_id: true,
        padding: 0,
    };
    for _ in 0..count {
        let delivery = delivery(world, &news);
        world.deliver(delivery).await;
    }
    let opened: Result<_, tonic::Status> = opening.await.unwrap();
    // What is dropped for its size meanwhile can take the place away.
    if world.log.trimmed == before.1 {
        let heads = (before.0, world.log.head());
        let begin = if is_latest {
            Begin::At(heads.1)
        } else {
            asked_at
        };
        let follower = Follower::new(opened.unwrap(), wanted, (begin, ""), &world.log, heads);
        keep(world, Some(follower));
    }
}

/// The whole log, as a subscriber without a token finds it.
pub async fn ask_for_everything(world: &mut World) {
    let everything = Wish {
        start: WishedStart::Earliest,
        types: Vec::new(),
        subjects: Vec::new(),
        screenings: Vec::new(),
        until_caught_up: true,
        skips_gaps: false,
        is_raw: true,
        heartbeat: None,
    };
    probe(world, everything).await;
}

/// Opens a stream and reads it to its end.
pub async fn probe(world: &mut World, mut wish: Wish) {
    wish.until_caught_up = true;
    let subscriber = world.subscriber();
    if let Some(mut follower) = open(world, &subscriber, wish).await {
        while follower.read(&world.log).await != Read::End {}
        world.assert_known(&follower.tokens);
    }
}
