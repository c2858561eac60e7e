//! Whatever happens at Kora, × every RPC that asks it.

use futures_util::{StreamExt, stream};
use tonic::Code;

use super::{launch::Launch, marked, outputs::Outputs};
use crate::{
    call::{Answer, Rpc},
    scripted_kora::{Act, ScriptedKora},
    situations::{Row, all_rows},
};

/// How many gateways run at a time; most of them wait for a retry.
const AT_ONCE: usize = 12;

/// The callers' deadline: room for a few attempts, and not for what Kora asks to wait.
const DEADLINE: &str = "6S";

#[tokio::test(flavor = "multi_thread")]
async fn whatever_kora_does_nothing_of_it_is_told() {
    let rows = all_rows().enumerate();
    let plays =
        stream::iter(rows).map(|(number, row)| tokio::spawn(play(row, Rpc::ALL[number % 4])));
    let mut all = plays.buffer_unordered(AT_ONCE);
    let mut count = 0;
    while let Some(outputs) = all.next().await {
        outputs.unwrap().look();
        count += 1;
    }
    assert_eq!(count, all_rows().count());
}

/// One situation: first for one RPC alone, which has to fail as it says, then for all at once, which can fail by what the
/// first has left behind.
async fn play(row: Row, first: Rpc) -> Outputs {
    // What is answered is answered in time on a busy machine too.
    let kora_timeout = if matches!(row.act, Act::Hang) {
        "300ms"
    } else {
        "5s"
    };
    let kora = ScriptedKora::start(with_markers(row.act)).await;
    let launch = Launch::gateway(&kora.base_url()).flag("kora-timeout", kora_timeout);
    let gateway = launch.start().await;
    let mut outputs = Outputs::default();
    let call = |rpc| {
        let call = marked::call(rpc).header("grpc-timeout", DEADLINE);
        tokio::spawn(call.send(gateway.grpc()))
    };
    let mut failures = 0;
    let answer = call(first).await.unwrap();
    if let Some((code, reason, _)) = (row.expected)(first) {
        assert_eq!(
            (answer.status.code(), &*answer.reason()),
            (code, reason),
            "{}",
            row.situation
        );
    }
    assert!(!kora.take_received().is_empty(), "{}", row.situation);
    let others = Rpc::ALL.map(call);
    for answer in [answer].into_iter().chain(joined(others).await) {
        failures += usize::from(answer.status.code() != Code::Ok);
        outputs.add_answer(row.situation, &answer);
    }
    let log = gateway.end(&mut outputs).await;
    assert_eq!(
        log.matches("call failed").count(),
        failures,
        "{}",
        row.situation
    );
    outputs
}

async fn joined(calls: [tokio::task::JoinHandle<Answer>; 4]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers
}

/// The same answer with headers that nobody asked for.
fn with_markers(act: Act) -> Act {
    act.with_header("location", "http://127.0.0.1:1/MARKER-LOCATION")
        .with_header("set-cookie", "session=MARKER-COOKIE")
        .with_header("x-marker", "MARKER-HEADER")
        .with_header("retry-after", "MARKER-TIME")
}
