//! How gateways go and come back, and the server behind them.

use futures_util::future::join_all;

use super::{
    follower::Follower, operation::News, reference::Reference, running::Running, script::delivery,
    storage::Nats, world::World,
};

/// How a gateway goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// By SIGTERM, while this much is delivered to another one, if there is one.
    InOrder(usize),
    /// By SIGKILL.
    Killed,
}

impl World {
    /// One of the gateways goes, and stays away where another one is there. Returns who was subscribed to it.
    pub async fn leave(&mut self, going: Going) -> Vec<Follower> {
        self.come_back().await;
        let number = self.land();
        if let Some(other) = self.other_than(number) {
            self.move_reference(other).await;
        } else {
            self.reference = None;
        }
        let all = std::mem::take(&mut self.followers).into_iter();
        let (mut left, others) = all.partition::<Vec<_>, _>(|follower| follower.at == number);
        self.followers = others;
        let gateway = self.gateways[number].take().expect("it is there");
        match going {
            Going::InOrder(count) => {
                gateway.start_stop().await;
                // One that stood still may be cut: it cannot be told why, and its token is good all the same.
                let may_be_cut: Vec<_> = left.iter().map(|it| it.is_due(&self.log)).collect();
                self.deliver_meanwhile(count).await;
                let reading = left.iter_mut().zip(may_be_cut);
                join_all(reading.map(|(follower, cut)| follower.read_to_stop(&self.log, cut)))
                    .await;
                gateway.stop().await;
            }
            Going::Killed => {
                gateway.kill().await;
                let reading = left.iter_mut();
                join_all(reading.map(|follower| follower.read_to_cut(&self.log))).await;
            }
        }
        for follower in &left {
            self.assert_known(&follower.tokens);
        }
        left
    }

    async fn deliver_meanwhile(&mut self, count: usize) {
        if self.gateways.iter().all(Option::is_none) {
            return;
        }
        for _ in 0..count {
            let delivery = delivery(self, &News::plain());
            self.deliver(delivery).await;
        }
    }

    /// Whoever is away is there again.
    pub async fn come_back(&mut self) {
        for number in 0..self.gateways.len() {
            if self.gateways[number].is_none() {
                self.gateways[number] = Some(Running::start(&self.setting, number).await);
            }
        }
        if self.reference.is_none() {
            self.move_reference(0).await;
        }
    }

    /// What is appended is seen at this gateway from now on.
    pub(super) async fn move_reference(&mut self, to: usize) {
        self.reference = None;
        let head = self.log.token(self.log.head());
        let (reference, _) = Reference::open(self.gateway(to), to, Some(head)).await;
        self.reference = Some(reference);
        self.has_shown(to, self.log.head());
    }

    /// The gateway is gone at once, and what is on the disk now is all that is left.
    pub async fn crash(&mut self) {
        let copy = self.setting.storage.directory().copy();
        self.end_all().await;
        self.setting.storage.directory().put(copy);
        self.come_back().await;
    }

    pub fn back_up(&mut self) {
        self.setting.storage.directory().back_up(&self.log);
    }

    /// The copy takes the log's place; another log, where there is none.
    pub async fn restore(&mut self) {
        self.end_all().await;
        let copied = match self.setting.place.is_on_nats() {
            true => None,
            false => self.setting.storage.directory().restore(),
        };
        match copied {
            Some(log) => {
                self.log = log;
                self.come_back().await;
                // What the copy has can be older than what is kept by now.
                self.wait_for_trim(0).await;
            }
            None => {
                self.setting.storage.replace();
                self.begin_log().await;
            }
        }
    }

    /// The NATS server is killed and comes back. Meanwhile Kora offers something, is told to come again, and does.
    /// Whether it was published the first time or not, it is there once.
    pub async fn lose_nats(&mut self, news: &News) {
        let offered = delivery(self, news);
        let number = self.land();
        self.nats().kill();
        let offer = self.gateway(number).webhooks.offer(&offered.body);
        let answer = offer.await;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key("retry-after"));
        self.nats().resume();
        self.log.lost_with = self.log.trimmed;
        // What was offered can be published by now, and an old event gone for it; `deliver` sees to that.
        let trimmed = self.nats().trimmed().await;
        let bounds = self.log.trimmed..=self.log.head();
        assert!(bounds.contains(&trimmed), "{trimmed}: NATS has what it had");
        let head = self.log.token(self.log.head()).to_owned();
        let of_the_future = self.forge(&head, 1);
        for gateway in self.gateways.iter().flatten() {
            gateway.wait_for_nats(&of_the_future).await;
        }
        self.deliver(offered).await;
        self.wait_for_heads().await;
    }

    fn nats(&mut self) -> &mut Nats {
        self.setting.storage.nats().expect("a run on NATS")
    }

    /// Sees that no stream was left over, and ends it.
    pub async fn end(mut self) {
        self.followers.clear();
        let reference = self.reference.as_ref().map(|reference| reference.at);
        for (number, gateway) in self.gateways.iter().enumerate() {
            let open = usize::from(reference == Some(number));
            if let Some(gateway) = gateway {
                let streams = format!("kora_gateway_watch_streams_open {open}\n");
                gateway.wait_for_metric(&streams).await;
            }
        }
        self.end_all().await;
    }

    /// Everyone goes, and the gateways stop.
    async fn end_all(&mut self) {
        self.followers.clear();
        self.reference = None;
        let there = self.gateways.iter_mut().filter_map(Option::take);
        join_all(there.map(Running::stop)).await;
    }
}
