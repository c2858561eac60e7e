//! A proxy between a gateway and its Kora that breaks an exchange at a planned byte, and knows what passed.
//!
//! Every connection has one exchange: a `connection: close` is added to each answer. Kora's side is never
//! broken: what was sent on whole is worked on to its end, so that every doubt is a real one.

mod http1;
mod passage;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How long the proxy waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// How an exchange is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed (FIN).
    Cut,
    /// The connection is reset (RST).
    Reset,
    /// Nothing goes on until the call is over. Then all that is left does.
    Stall,
}

/// After how many bytes. An offset beyond the end is the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Of the request, as sent on to Kora.
    Request(usize),
    /// Of the answer, as passed on to the gateway.
    Answer(usize),
}

/// What happens to every connection of one call.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub fault: Fault,
    pub place: Place,
}

/// What passed on one connection.
#[derive(Clone, Debug, Default)]
pub struct Passage {
    /// Bytes that the gateway sent and the proxy read, to the end of the connection.
    pub received: usize,
    /// The length of the request, if it went to Kora whole.
    pub request_length: Option<usize>,
    /// Bytes of the request that were sent on to Kora.
    pub sent_on: usize,
    /// The status and the length of Kora's whole answer, if there was one before the fault.
    pub answer: Option<(u16, usize)>,
    /// Bytes of it that were passed on before the fault.
    pub passed_on: usize,
}

/// The proxy. It ends when it is dropped.
pub struct FaultProxy {
    addr: SocketAddr,
    state: Arc<State>,
    _accepting: AbortOnDropHandle<()>,
}

struct State {
    orders: Mutex<Orders>,
    seen: watch::Sender<Seen>,
}

/// What connections are to do.
#[derive(Clone)]
struct Orders {
    plan: Plan,
    /// Ends every stall.
    call_is_over: CancellationToken,
}

#[derive(Default)]
struct Seen {
    open: usize,
    ended: Vec<Passage>,
}

impl Plan {
    /// Nothing is broken.
    pub const NONE: Plan = Plan {
        fault: Fault::Cut,
        place: Place::Answer(usize::MAX),
    };
}

impl Passage {
    /// The status of the answer, if all of it was passed on.
    pub fn answered(&self) -> Option<u16> {
        let (status, length) = self.answer?;
        (self.passed_on == length).then_some(status)
    }
}

impl FaultProxy {
    /// Starts one in front of the Kora at `kora`.
    pub async fn start(kora: SocketAddr) -> FaultProxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            orders: Mutex::new(Orders::of(Plan::NONE)),
            seen: watch::Sender::default(),
        });
        let accepting = tokio::spawn(accept(listener, kora, Arc::clone(&state)));
        FaultProxy {
            addr,
            state,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    pub fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.addr)
    }

    /// What happens to the connections of the next call.
    pub fn plan(&self, plan: Plan) {
        *self.state.orders.lock().unwrap() = Orders::of(plan);
    }

    /// To be called once the call has its answer: lets what stalls go on, waits until every connection of the
    /// call has ended (at least one must come), and tells what passed, in the order of the ends.
    pub async fn end_of_call(&self) -> Vec<Passage> {
        self.state.orders.lock().unwrap().call_is_over.cancel();
        let mut seen = self.state.seen.subscribe();
        let ended = seen.wait_for(|seen| seen.open == 0 && !seen.ended.is_empty());
        let ended = timeout(PATIENCE, ended).await;
        drop(ended.expect("a connection did not end in time").unwrap());
        self.state.seen.send_replace(Seen::default()).ended
    }
}

impl Orders {
    fn of(plan: Plan) -> Orders {
        Orders {
            plan,
            call_is_over: CancellationToken::new(),
        }
    }
}

async fn accept(listener: TcpListener, kora: SocketAddr, state: Arc<State>) {
    loop {
        let (gateway, _) = listener.accept().await.unwrap();
        gateway.set_nodelay(true).unwrap();
        let orders = state.orders.lock().unwrap().clone();
        state.seen.send_modify(|seen| seen.open += 1);
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let passage = timeout(PATIENCE, passage::pass(gateway, kora, orders)).await;
            let passage = passage.expect("a connection stood still");
            state.seen.send_modify(|seen| {
                seen.open -= 1;
                seen.ended.push(passage);
            });
        });
    }
}
