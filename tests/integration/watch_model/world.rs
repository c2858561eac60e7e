//! The real gateways of a run, the model beside them, and a stream that shows the model every event as it is appended.

use std::{collections::HashMap, sync::Arc};

use kora_gateway::event::{Position, ResumeToken};
use prost::Message;

use super::{
    follower::Follower,
    log::{Delivery, Kept, Log},
    place::Place,
    reference::Reference,
    running::Running,
    setting::Setting,
};
use crate::subscriber::Subscriber;

pub struct World {
    pub log: Log,
    /// Every token that was ever handed out, and every one that was made up: the life of its log, and its sequence
    /// there.
    pub tokens: HashMap<String, (usize, usize)>,
    /// Those that were handed out, in the order in which they came.
    pub token_list: Vec<String>,
    pub sent: Vec<Arc<Delivery>>,
    pub followers: Vec<Follower>,
    /// Which gateway whoever comes next comes to, bit by bit.
    pub landings: u64,
    pub(super) setting: Setting,
    /// `None`: that one is away.
    pub(super) gateways: Vec<Option<Running>>,
    pub(super) reference: Option<Reference>,
    pub(super) lives: usize,
}

impl World {
    pub async fn begin(place: Place, retention_kib: u64) -> World {
        let mut world = World {
            log: Log::new(place, 0, String::new(), 0),
            tokens: HashMap::new(),
            token_list: Vec::new(),
            sent: Vec::new(),
            followers: Vec::new(),
            landings: 0,
            setting: Setting::new(place, retention_kib),
            gateways: (0..place.gateways()).map(|_| None).collect(),
            reference: None,
            lives: 0,
        };
        world.begin_log().await;
        world
    }

    /// The gateways start on a log that is new.
    pub(super) async fn begin_log(&mut self) {
        for number in 0..self.gateways.len() {
            self.gateways[number] = Some(Running::start(&self.setting, number).await);
        }
        let (reference, first) = Reference::open(self.gateway(0), 0, None).await;
        self.reference = Some(reference);
        let Setting {
            place,
            retention_kib,
            ..
        } = self.setting;
        self.log = Log::new(place, self.lives, first.clone(), retention_kib << 10);
        self.lives += 1;
        self.learn(first, 0);
    }

    /// What time it is at a gateway.
    pub fn now(&self, number: usize) -> i64 {
        self.setting.hands[number].now()
    }

    /// Time passes everywhere.
    pub fn pass(&self, milliseconds: i64) {
        for hands in &self.setting.hands {
            hands.pass(milliseconds);
        }
    }

    /// One clock is set back.
    pub fn set_back(&mut self, milliseconds: i64) {
        let number = self.land();
        self.setting.hands[number].pass(-milliseconds);
    }

    /// The gateway that whoever comes now comes to.
    pub fn land(&mut self) -> usize {
        let number = self.landings as usize % self.gateways.len();
        self.landings = self.landings.rotate_right(1);
        match self.gateways[number] {
            Some(_) => number,
            None => self.other_than(number).expect("one is always there"),
        }
    }

    /// One that is there besides this one.
    pub(super) fn other_than(&self, number: usize) -> Option<usize> {
        let mut others = (0..self.gateways.len()).filter(|other| *other != number);
        others.find(|other| self.gateways[*other].is_some())
    }

    pub(super) fn gateway(&self, number: usize) -> &Running {
        self.gateways[number].as_ref().expect("it is there")
    }

    pub fn subscriber(&self, number: usize) -> Subscriber {
        self.gateway(number).subscriber.clone()
    }

    /// A connection of its own, for a subscriber that may stand still.
    pub async fn new_subscriber(&self, number: usize) -> Subscriber {
        self.gateway(number).new_subscriber().await
    }

    /// What a gateway has certainly shown: it can have more.
    pub fn shown(&self, number: usize) -> usize {
        self.gateway(number).shown
    }

    /// A gateway has shown this.
    pub fn has_shown(&mut self, number: usize, sequence: usize) {
        if let Some(gateway) = &mut self.gateways[number] {
            gateway.shown = gateway.shown.max(sequence);
        }
    }

    /// Remembers a token of this log.
    pub fn learn(&mut self, token: String, sequence: usize) {
        self.tokens.entry(token.clone()).or_insert_with(|| {
            self.token_list.push(token);
            (self.log.life, sequence)
        });
    }

    /// The token of a place so many after that of a known one, with a record there that this log never had: a log that
    /// was restored and went another way hands it out.
    pub fn forge(&mut self, token: &str, by: usize) -> String {
        let (life, sequence) = self.tokens[token];
        let ResumeToken { log_id, position } = ResumeToken::decode(token).unwrap();
        let forged = ResumeToken {
            log_id,
            position: Position {
                sequence: position.sequence + by as u64,
                checksum: !position.checksum,
            },
        };
        let forged = forged.encode();
        self.tokens.insert(forged.clone(), (life, sequence + by));
        forged
    }

    /// Sees that no stream handed out a token of no position.
    pub fn assert_known(&self, tokens: &[String]) {
        let unknown = tokens
            .iter()
            .find(|token| !self.tokens.contains_key(*token));
        assert_eq!(unknown, None, "a token of no position");
    }

    /// Kora sends something to one of the gateways.
    pub async fn deliver(&mut self, delivery: Arc<Delivery>) {
        let number = self.land();
        let now = self.now(number);
        // The log may look after itself at any moment, and then forgets what is too old.
        let may_forget = self.log.is_too_old(now) || self.log.may_be_forgotten(&delivery);
        let known = self.log.knows(&delivery, now);
        self.gateway(number).webhooks.deliver(&delivery.body).await;
        self.sent.push(Arc::clone(&delivery));
        if let Some(sequence) = known {
            self.has_shown(number, sequence);
            if !may_forget {
                return self.log.trim(now, 0);
            }
            let before = self.log.clone();
            self.log.trim(now, 0);
            if self.gateway(number).opened().await.head_token == before.token(before.head()) {
                return;
            }
        }
        if may_forget {
            let mut looked_after = self.log.clone();
            looked_after.trim(now, 0);
            self.log.trims.insert(looked_after.trimmed);
        }
        self.append(delivery, now).await;
        // Whoever has taken it shows it before it answers.
        self.has_shown(number, self.log.head());
    }

    /// The log has something new, of this time.
    async fn append(&mut self, delivery: Arc<Delivery>, now: i64) {
        let reference = self.reference.as_mut().expect("it is open");
        let (event, token) = reference.appended().await;
        let at = reference.at;
        let kept = Kept {
            event_id: self.log.event_id(&delivery, now),
            time: self.log.receive_time(&delivery, now),
            log_time: self.log.log_time(now),
            size: event.encoded_len() as u64,
            token: token.clone(),
            delivery,
        };
        kept.assert_is(&event, true);
        let is_again = (0..=self.log.head()).any(|place| self.log.token(place) == token);
        assert!(!is_again, "one token for two positions");
        self.log.events.push(kept);
        self.learn(token, self.log.head());
        self.has_shown(at, self.log.head());
        match self.setting.storage.nats() {
            None => self.log.trim(now, 1),
            Some(nats) => self.log.trim_to(nats.trimmed().await),
        }
    }

    /// Everything up to this sequence gets too old on NATS, of which only the server's clock can tell.
    pub async fn outdate(&mut self, up_to: usize) {
        let nats = self.setting.storage.nats().expect("the server's own part");
        if up_to > self.log.trimmed {
            nats.purge(up_to).await;
            self.log.trim_to(up_to);
        }
    }

    /// Waits until a gateway shows what was dropped by itself.
    pub async fn wait_for_trim(&mut self, number: usize) {
        self.log.trim(self.now(number), 0);
        let oldest = self.log.token(self.log.trimmed).to_owned();
        let gateway = self.gateway(number);
        gateway
            .wait_for_ends(|ends| ends.oldest_token == oldest)
            .await;
    }

    /// The same of what was dropped on NATS, where nothing else shows it at once.
    pub async fn wait_for_trim_on_nats(&mut self, number: usize) {
        let trimmed = self.log.trimmed;
        if self.setting.place.is_on_nats() && self.gateway(number).trimmed != trimmed {
            self.wait_for_trim(number).await;
            let gateway = self.gateways[number].as_mut();
            gateway.expect("it is there").trimmed = trimmed;
        }
    }

    /// Waits until every gateway that is there shows all that there is.
    pub async fn wait_for_heads(&mut self) {
        let head = self.log.token(self.log.head());
        for gateway in self.gateways.iter().flatten() {
            gateway.wait_for_ends(|ends| ends.head_token == head).await;
        }
        for number in 0..self.gateways.len() {
            self.has_shown(number, self.log.head());
        }
    }
}
