//! A caller, a gateway, the faulty proxy and an emulator in a row: one call at a time.

use std::collections::HashSet;

use tonic::Code;
use uuid::Uuid;

use super::Setting;
use crate::{
    call::{Answer, Call, Connection, Rpc, screen_request},
    emulator::Emulator,
    fault_proxy::{Fault, FaultProxy, Passage, Plan},
    harness::Gateway,
};

/// How long a gateway waits for an answer that does not come.
const SHORT: &str = "1s";

/// What Kora does with every request that it gets whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kora {
    Screens,
    /// 429.
    LimitsRates,
    /// 500 SCREENING_FAILED.
    Fails,
    /// 503 SCREENING_TIMEOUT.
    TakesTooLong,
}

/// One call and all that is known of it.
pub struct Exchange {
    pub plan: Plan,
    pub answer: Answer,
    /// One for each connection of the gateway's.
    pub passages: Vec<Passage>,
}

/// The row.
pub struct Lane {
    has_request_id: bool,
    caller: Connection,
    gateway: Gateway,
    proxy: FaultProxy,
    emulator: Emulator,
}

impl Kora {
    /// The status that it answers with.
    pub fn status(self) -> u16 {
        match self {
            Kora::Screens => 200,
            Kora::LimitsRates => 429,
            Kora::Fails => 500,
            Kora::TakesTooLong => 503,
        }
    }

    fn failure(self) -> Option<&'static str> {
        match self {
            Kora::Screens => None,
            Kora::LimitsRates => Some("RATE_LIMITED"),
            Kora::Fails => Some("SCREENING_FAILED"),
            Kora::TakesTooLong => Some("SCREENING_TIMEOUT"),
        }
    }
}

impl Lane {
    pub async fn start(setting: Setting) -> Lane {
        let emulator = Emulator::start().await;
        if let Some(code) = setting.kora.failure() {
            emulator.fail_screenings(setting.kora.status(), code).await;
        }
        let proxy = FaultProxy::start(emulator.addr).await;
        let flags: &[_] = match setting.fault {
            Fault::Stall => &[("kora-timeout", SHORT)],
            Fault::Cut | Fault::Reset => &[],
        };
        let gateway = Gateway::start(&proxy.base_url(), flags).await;
        Lane {
            has_request_id: setting.has_request_id,
            caller: Connection::open(gateway.grpc).await,
            gateway,
            proxy,
            emulator,
        }
    }

    /// Makes one call, and waits until nothing of it is on its way any more.
    pub async fn call(&mut self, plan: Plan) -> Exchange {
        let mut request = screen_request();
        if self.has_request_id {
            request.request_id = Uuid::new_v4().to_string();
        }
        self.proxy.plan(plan);
        let call = Call::new(Rpc::Screen, &request);
        let answer = self.caller.send(call).await.unwrap();
        Exchange {
            plan,
            answer,
            passages: self.proxy.end_of_call().await,
        }
    }

    /// Lets Kora answer twice, so that no circuit opens: less than half of all calls fail.
    pub async fn answer_twice(&mut self) {
        self.proxy.plan(Plan::NONE);
        for _ in 0..2 {
            let answer = self.caller.send(Rpc::CreateSubject.call()).await.unwrap();
            assert_eq!(answer.status.code(), Code::Ok, "{:?}", answer.status);
            self.proxy.end_of_call().await;
        }
    }

    /// Sees that the emulator counts no more screenings than the proxy, and stops the gateway.
    pub async fn end(self, exchanges: &[Exchange]) {
        let mut arrived = self.emulator.requests().await;
        arrived.retain(|request| request["path"] == "/api/v1/screenings");
        let passages = || exchanges.iter().flat_map(|exchange| &exchange.passages);
        let whole = passages().filter(|passage| passage.request_length.is_some());
        let begun = passages().filter(|passage| passage.sent_on > 0);
        assert!(
            (whole.count()..=begun.count()).contains(&arrived.len()),
            "{} requests arrived",
            arrived.len()
        );
        if self.has_request_id {
            let keys: HashSet<_> = arrived
                .iter()
                .map(|request| request["headers"]["idempotency-key"].as_str().unwrap())
                .collect();
            assert!(keys.len() <= exchanges.len());
            let refused = passages().filter(|passage| passage.answered() == Some(429));
            assert!(
                arrived.len() - keys.len() <= refused.count(),
                "one key came twice"
            );
        }
        drop(self.caller);
        self.gateway.stop().await;
    }
}
