//! A real gateway, the model beside it, and a stream that shows the model every event as it is appended.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_util::future::join_all;
use kora_gateway::pb;
use prost::Message;
use tempfile::TempDir;
use tokio::time::timeout;

use super::{
    follower::Follower,
    log::{Delivery, Kept, Log},
    running::{Running, Setting},
};
use crate::subscriber::{PATIENCE, Subscriber};

/// The day on which every run begins, in milliseconds.
const BEGINNING: i64 = 1_800_000_000_000;

pub struct World {
    pub log: Log,
    /// Every token that was ever handed out: the life of its log, and its sequence there.
    pub tokens: HashMap<String, (usize, usize)>,
    /// The same in the order in which they came.
    pub token_list: Vec<String>,
    pub sent: Vec<Arc<Delivery>>,
    pub followers: Vec<Follower>,
    setting: Setting,
    running: Option<Running>,
    backup: Option<(TempDir, Log)>,
    lives: usize,
}

impl World {
    pub async fn begin(retention_kib: u64) -> World {
        let hands = Arc::new(AtomicI64::new(BEGINNING));
        let setting = Setting {
            hands,
            retention_kib,
        };
        let data = tempfile::tempdir().unwrap();
        let (running, head) = Running::start(data, &setting, None).await;
        let mut world = World {
            log: Log::new(0, head.clone(), retention_kib << 10),
            tokens: HashMap::new(),
            token_list: Vec::new(),
            sent: Vec::new(),
            followers: Vec::new(),
            setting,
            running: Some(running),
            backup: None,
            lives: 1,
        };
        world.learn(head, 0);
        world
    }

    pub fn now(&self) -> i64 {
        self.setting.hands.load(Ordering::SeqCst)
    }

    pub fn pass(&self, milliseconds: i64) {
        self.setting.hands.fetch_add(milliseconds, Ordering::SeqCst);
    }

    pub fn subscriber(&self) -> Subscriber {
        self.running().subscriber.clone()
    }

    /// A connection of its own, for a subscriber that may stand still.
    pub async fn new_subscriber(&self) -> Subscriber {
        Subscriber::connect(self.running().gateway.grpc).await
    }

    /// Remembers a token of this log.
    pub fn learn(&mut self, token: String, sequence: usize) {
        self.tokens.entry(token.clone()).or_insert_with(|| {
            self.token_list.push(token);
            (self.log.life, sequence)
        });
    }

    /// Remembers what a stream handed out that was not known before.
    pub fn assert_known(&self, tokens: &[String]) {
        let unknown = tokens
            .iter()
            .find(|token| !self.tokens.contains_key(*token));
        assert_eq!(unknown, None, "a token of no position");
    }

    /// Kora sends something.
    pub async fn deliver(&mut self, delivery: Arc<Delivery>) {
        let now = self.now();
        // The log may look after itself at any moment, and then forgets what is too old.
        let may_forget = self.log.is_too_old(now);
        let is_known = self.log.knows(&delivery, now);
        self.running().webhooks.deliver(&delivery.body).await;
        self.sent.push(Arc::clone(&delivery));
        if is_known && may_forget {
            let before = self.log.clone();
            self.log.trim(now, 0);
            let head = self.head_token().await;
            if head == before.token(before.head()) {
                return;
            }
        } else if is_known {
            return self.log.trim(now, 0);
        }
        if may_forget {
            let mut looked_after = self.log.clone();
            looked_after.trim(now, 0);
            self.log.trims.insert(looked_after.trimmed);
        }
        let (event, token) = self.running.as_mut().unwrap().appended().await;
        let kept = Kept {
            event_id: self.log.event_id(&delivery, now),
            time: self.log.receive_time(now),
            size: event.encoded_len() as u64,
            token: token.clone(),
            delivery,
        };
        kept.assert_is(&event, true);
        let is_again = (0..=self.log.head()).any(|place| self.log.token(place) == token);
        assert!(!is_again, "one token for two positions");
        self.log.events.push(kept);
        self.learn(token, self.log.head());
        self.log.trim(now, 1);
    }

    /// Waits until the log has dropped what is too old by itself.
    pub async fn wait_for_trim(&mut self) {
        let now = self.now();
        self.log.trim(now, 0);
        let oldest = self.log.token(self.log.trimmed).to_owned();
        let wait = async { while self.opened().await.oldest_token != oldest {} };
        timeout(PATIENCE, wait)
            .await
            .expect("what is too old goes by itself");
    }

    /// Stops in order and starts again on the same directory.
    pub async fn restart(&mut self) {
        let running = self.running.take().unwrap();
        running.gateway.start_stop();
        let mut followers = std::mem::take(&mut self.followers);
        let reading = followers.iter_mut();
        join_all(reading.map(|follower| follower.read_to_stop(&self.log))).await;
        for follower in followers {
            self.assert_known(&follower.tokens);
        }
        let data = running.stop().await;
        self.start(data).await;
    }

    /// What is on the disk now is all that is left.
    pub async fn crash(&mut self) {
        let copy = self.running().copy();
        self.leave().await;
        self.start(copy).await;
    }

    pub fn back_up(&mut self) {
        self.backup = Some((self.running().copy(), self.log.clone()));
    }

    /// The copy takes the log's place; an empty directory, where there is none.
    pub async fn restore(&mut self) {
        self.leave().await;
        match self.backup.take() {
            Some((copy, log)) => {
                self.log = log;
                self.start(copy).await;
                // What the copy has can be older than what is kept by now.
                self.wait_for_trim().await;
            }
            None => {
                let data = tempfile::tempdir().unwrap();
                let (running, first) = Running::start(data, &self.setting, None).await;
                self.running = Some(running);
                self.log = Log::new(self.lives, first.clone(), self.setting.retention_kib << 10);
                self.lives += 1;
                self.learn(first, 0);
            }
        }
    }

    /// Ends it, and sees that no stream was left over.
    pub async fn end(mut self) {
        self.followers.clear();
        let none_but_the_reference = "kora_gateway_watch_streams_open 1\n";
        let gateway = &self.running().gateway;
        gateway.wait_for_metric(none_but_the_reference).await;
        self.leave().await;
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    /// Starts on a directory with the log.
    async fn start(&mut self, data: TempDir) {
        let head = self.log.token(self.log.head());
        let (running, _) = Running::start(data, &self.setting, Some(head)).await;
        self.running = Some(running);
    }

    /// Everyone goes, and the gateway stops.
    async fn leave(&mut self) {
        self.followers.clear();
        if let Some(running) = self.running.take() {
            drop(running.stop().await);
        }
    }

    async fn head_token(&self) -> String {
        self.opened().await.head_token
    }

    async fn opened(&self) -> pb::Opened {
        let latest = pb::WatchEventsRequest::default();
        let mut stream = self.running().subscriber.watch(latest).await.unwrap();
        stream.opened().await.0
    }
}
