//! NATS goes away and comes back while Kora delivers to two gateways: what was answered `200` is there, once, and
//! in one order for everybody.

use std::{iter, time::Duration};

use kora_gateway::pb;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tonic::Code;
use uuid::Uuid;

use crate::{
    call::{Call, Rpc, SCREENING_ID, screen_request},
    deliveries::Webhooks,
    gateway_process::GatewayProcess,
    nats_server::NatsServer,
    requests::{completed, request},
    scripted_kora::ScriptedKora,
    subscriber::{EventStream, Subscriber, from_earliest},
};

/// How much time a caller has: less than NATS is given to answer.
const CALLERS_TIME: &str = "4S";

/// How often NATS goes away.
const OUTAGES: usize = 3;

/// How many deliveries are on their way at a time.
const SENDERS: usize = 4;

/// How many deliveries of a kind each gateway answers before something else happens.
const ENOUGH: usize = 10;

/// How long Kora waits before it offers an event again. It would wait longer.
const COME_BACK_AFTER: Duration = Duration::from_millis(20);

/// How long a test waits for NATS to be found again.
const LONG_PATIENCE: Duration = Duration::from_secs(60);

/// What the senders were answered.
#[derive(Default)]
pub(super) struct Answers {
    /// The events that got their `200`.
    pub(super) kept: Vec<String>,
    /// How many `200`s and how many `503`s each gateway gave.
    pub(super) accepted: [usize; 2],
    pub(super) refused: [usize; 2],
    /// Whether no further event is begun.
    is_over: bool,
}

/// Kora's side: events that are offered to one gateway after the other until one of them has taken them.
pub(super) struct Deliveries {
    answers: watch::Sender<Answers>,
    senders: Vec<JoinHandle<()>>,
}

/// A subscriber that must never lose its stream.
pub(super) struct Follower {
    seen: watch::Receiver<Vec<String>>,
    reading: JoinHandle<()>,
}

impl Deliveries {
    pub(super) fn start(gateways: &[GatewayProcess; 2]) -> Self {
        let answers = watch::Sender::new(Answers::default());
        let senders = (0..SENDERS).map(|sender| {
            let to = gateways.each_ref().map(|one| Webhooks::to(one.webhook));
            tokio::spawn(send(sender, to, answers.clone()))
        });
        Deliveries {
            senders: senders.collect(),
            answers,
        }
    }

    /// Waits until each gateway has given so many more of the answers that `count` counts.
    async fn more(&self, count: impl Fn(&Answers) -> [usize; 2]) {
        let in_time = timeout(LONG_PATIENCE, self.until_more(count)).await;
        in_time.expect("answers in time");
    }

    /// The same without a limit.
    pub(super) async fn until_more(&self, count: impl Fn(&Answers) -> [usize; 2]) {
        let before = count(&self.answers.borrow());
        let mut answers = self.answers.subscribe();
        let are_there = answers.wait_for(|now| {
            let now = count(now);
            iter::zip(now, before).all(|(now, before)| now >= before + ENOUGH)
        });
        are_there.await.unwrap();
    }

    /// Lets every event that was offered get its `200`, and returns them all.
    pub(super) async fn finish(self) -> Vec<String> {
        self.answers.send_modify(|answers| answers.is_over = true);
        for sender in self.senders {
            timeout(LONG_PATIENCE, sender).await.unwrap().unwrap();
        }
        self.answers.send_replace(Answers::default()).kept
    }
}

async fn send(sender: usize, to: [Webhooks; 2], answers: watch::Sender<Answers>) {
    let mut turns = [0, 1].into_iter().cycle();
    for number in 0.. {
        if answers.borrow().is_over {
            return;
        }
        let id = format!("evt_{sender}_{number}");
        for turn in turns.by_ref() {
            let (status, says_when) = to[turn].offer_event(&id, "case.closed").await;
            answers.send_modify(|answers| match status {
                200 => answers.accepted[turn] += 1,
                _ => answers.refused[turn] += 1,
            });
            if status == 200 {
                break;
            }
            assert_eq!((status, says_when), (503, true));
            sleep(COME_BACK_AFTER).await;
        }
        answers.send_modify(|answers| answers.kept.push(id));
    }
}

impl Follower {
    pub(super) async fn start(gateway: &GatewayProcess) -> Self {
        let mut stream = open(gateway, from_earliest()).await;
        let (sender, seen) = watch::channel(Vec::new());
        let reading = tokio::spawn(async move {
            loop {
                let message = stream.next_within(LONG_PATIENCE).await;
                let message = message.expect("an open stream").expect("no end");
                let ids = message.events.into_iter().map(|event| event.event_id);
                sender.send_modify(|seen| seen.extend(ids));
            }
        });
        Follower { seen, reading }
    }

    /// What it has seen, once that is so many events.
    pub(super) async fn seen(mut self, count: usize) -> Vec<String> {
        let all = self.seen.wait_for(|seen| seen.len() >= count);
        let seen = timeout(LONG_PATIENCE, all).await.expect("all in time");
        let seen = seen.expect("its stream was never lost").clone();
        self.reading.abort();
        seen
    }
}

async fn open(gateway: &GatewayProcess, request: pb::WatchEventsRequest) -> EventStream {
    let subscriber = Subscriber::connect(gateway.grpc).await;
    subscriber.watch(request).await.unwrap()
}

/// All that a gateway has.
pub(super) async fn log_at(gateway: &GatewayProcess) -> Vec<String> {
    let past = open(gateway, from_earliest()).await.past().await;
    past.into_iter().map(|event| event.event_id).collect()
}

/// Sees what calls are answered while NATS is away. Returns the id that was refused.
async fn call_without_nats(gateway: &GatewayProcess, kora: &ScriptedKora) -> Uuid {
    let id = Uuid::new_v4();
    let refused = Call::new(Rpc::Screen, &request(id)).header("grpc-timeout", CALLERS_TIME);
    let refused = refused.send(gateway.grpc).await;
    assert_eq!(refused.status.code(), Code::Unavailable);
    assert_eq!(refused.reason(), "STORE_UNAVAILABLE");
    assert_eq!(refused.outcome().as_deref(), Some("NOT_SENT"));
    assert!(kora.take_received().is_empty());
    let without_id = Call::new(Rpc::Screen, &screen_request());
    without_id.send(gateway.grpc).await.screening();
    assert_eq!(kora.take_received().len(), 1);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_200_while_nats_comes_and_goes_is_there_once() {
    let mut nats = NatsServer::start();
    let kora = ScriptedKora::start(completed()).await;
    let gateways = [(); 2].map(|()| GatewayProcess::start(&kora.base_url(), &nats.url()));
    let [one, other] = &gateways;
    let followers = [Follower::start(one).await, Follower::start(other).await];
    let deliveries = Deliveries::start(&gateways);
    for _ in 0..OUTAGES {
        deliveries.more(|answers| answers.accepted).await;
        nats.kill();
        deliveries.more(|answers| answers.refused).await;
        let refused = [
            call_without_nats(one, &kora).await,
            call_without_nats(other, &kora).await,
        ];
        nats.resume();
        deliveries.more(|answers| answers.accepted).await;
        // Nothing was sent, so the ids are free: at the other gateway too.
        for (gateway, id) in [(other, refused[0]), (one, refused[1])] {
            let sent = Call::new(Rpc::Screen, &request(id))
                .send(gateway.grpc)
                .await;
            assert_eq!(sent.screening().screening_id, SCREENING_ID);
            assert_eq!(kora.take_received().len(), 1);
        }
    }
    let kept = deliveries.finish().await;
    let log = log_at(one).await;
    assert_eq!(log_at(other).await, log);
    for follower in followers {
        assert_eq!(follower.seen(log.len()).await, log);
    }
    let is_lost = |id: &&String| !log.contains(id);
    assert_eq!(kept.iter().find(is_lost), None);
    assert_eq!(kept.len(), log.len(), "nothing is there twice");
}
