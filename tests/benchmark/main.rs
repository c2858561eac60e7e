//! What the gateway costs, beside the least that the same machine needs for the same: `cargo bench --bench
//! performance`. `docs/performance.md` says how to read it.
#![expect(unreachable_pub, reason = "nothing is outside of a benchmark crate")]
#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot go on has failed"
)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the table is the result"
)]

mod concerned;
mod delivery;
mod filled_log;
mod gateway;
mod group_commit;
mod multitude;
mod nats;
mod process;
mod results;
mod screens;
mod socket_writes;
mod streams;
mod webhooks;

use std::time::Duration;

use delivery::{Delivered, Load};
use gateway::Gateway;
use multitude::Multitude;
use process::{CpuTime, resident_bytes};
use results::{Results, quantile};
use tonic::metadata::MetadataMap;
use webhooks::Webhooks;

/// How often everything is measured. Each round goes through all of it, so that whatever else the machine
/// does hits all alike.
const ROUNDS: u32 = 5;

/// Senders of webhooks, and how many they send in a round.
const SENDERS: [(usize, u32); 2] = [(1, 2_000), (64, 20_000)];

/// Screenings at a time, and how many there are in a round, with an id and without.
const SCREENINGS: (usize, u32) = (64, 20_000);

/// Streams that get every event, and how many events at saturation.
const FOLLOWERS: [(usize, u32); 3] = [(100, 8_000), (1_000, 3_000), (5_000, 800)];

/// How many senders saturate the streams.
const SATURATING_SENDERS: usize = 8;

/// The quiet load: so many events, one each time.
const QUIET_EVENTS: u32 = 80;
const QUIET_PACE: Duration = Duration::from_millis(100);

/// Streams that are each about a subject of their own: few, and many.
const SUBJECTS: [u32; 2] = [100, 10_000];

/// How many events concern one of them, and how often one comes.
const CONCERNING_EVENTS: u32 = 5_000;
const CONCERNING_PACE: Duration = Duration::from_millis(2);

/// Streams that get nothing.
const IDLE: [usize; 2] = [1_000, 5_000];

/// How many events a log has when a gateway starts with it.
const FILLED: [u32; 2] = [100_000, 1_000_000];

/// One MiB, in bytes.
const MIB: f64 = 1_048_576.0;

/// The header of a DATA frame.
const FRAME_HEADER_BYTES: usize = 9;

fn main() {
    let mut results = Results::default();
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for (senders, events) in SENDERS {
            receive(&mut results, senders, events);
        }
        screen(&mut results);
        for (streams, events) in FOLLOWERS {
            follow(&mut results, streams, events);
        }
        concern(&mut results);
        crowd(&mut results);
        for streams in IDLE {
            idle(&mut results, streams);
        }
    }
    start(&mut results);
    println!(
        "{}\n",
        process::machine(&gateway::data_root().to_string_lossy())
    );
    println!("{}", results.table());
}

/// Webhooks to their `200`, and appends of the same bodies to bare SQLite.
fn receive(results: &mut Results, senders: usize, count: u32) {
    let gateway = Gateway::start();
    let webhooks = Webhooks::new(0, count);
    let before = CpuTime::of(gateway.pid());
    let mut sent = webhooks.send(gateway.webhook, senders, None);
    let cpu = CpuTime::of(gateway.pid()).since(&before);
    drop(gateway);
    let directory = gateway::new_directory();
    let body = webhooks::body(0);
    let mut bare = group_commit::append(directory.path(), senders, webhooks.len(), body.as_bytes());

    let what = format!("webhook to `200`, {senders} sending");
    let count = f64::from(count);
    let mut note = |unit, gateway, limit| results.note(&what, unit, gateway, Some(limit));
    note(
        "events/s",
        count / sent.took.as_secs_f64(),
        count / bare.took.as_secs_f64(),
    );
    note(
        "CPU µs/event",
        micros(cpu) / count,
        micros(bare.cpu) / count,
    );
    for (unit, part) in [("p50 ms", 0.5), ("p99 ms", 0.99)] {
        let both = [&mut sent.latencies, &mut bare.latencies];
        let [gateway, limit] = both.map(|latencies| micros(quantile(latencies, part)) / 1e3);
        note(unit, gateway, limit);
    }
}

/// Screenings without an id, those with one, and what the difference costs beside one append of as many bytes
/// to bare SQLite.
fn screen(results: &mut Results) {
    let (at_a_time, count) = SCREENINGS;
    let [without, with] = [false, true].map(|has_request_id| {
        let kora = screens::Kora::start();
        let gateway = Gateway::start_calling(kora.addr);
        let before = CpuTime::of(gateway.pid());
        let mut screened = screens::screen(gateway.grpc, at_a_time, count, has_request_id);
        let cpu = micros(CpuTime::of(gateway.pid()).since(&before)) / f64::from(count);
        let what = match has_request_id {
            false => format!("Screen, {at_a_time} at a time"),
            true => "the same with `request_id`".to_owned(),
        };
        let calls = f64::from(count) / screened.took.as_secs_f64();
        results.note(&what, "calls/s", calls, None);
        results.note(&what, "CPU µs/call", cpu, None);
        for (unit, part) in [("p50 ms", 0.5), ("p99 ms", 0.99)] {
            let took = micros(quantile(&mut screened.latencies, part)) / 1e3;
            results.note(&what, unit, took, None);
        }
        cpu
    });
    let directory = gateway::new_directory();
    let record = vec![0; screens::RECORD_BYTES];
    let bare = group_commit::append(directory.path(), at_a_time, count as usize, &record);
    let limit = micros(bare.cpu) / f64::from(count);
    let what = "what the `request_id` adds, beside one append";
    results.note(what, "CPU µs/call", with - without, Some(limit));
}

/// Screenings of many callers for many tenants, beside those of one that nobody asks who it is.
fn crowd(results: &mut Results) {
    let (at_a_time, count) = SCREENINGS;
    let kora = screens::Kora::start();
    let one = Gateway::start_calling(kora.addr);
    let files = Multitude::of(kora.addr);
    let many = Gateway::start_by(&files.config());
    let cpu_of = |gateway: &Gateway, metadata_of: fn(usize) -> MetadataMap| {
        let before = CpuTime::of(gateway.pid());
        screens::screen_as(gateway.grpc, at_a_time, count, false, metadata_of);
        micros(CpuTime::of(gateway.pid()).since(&before)) / f64::from(count)
    };
    let one_cpu = cpu_of(&one, |_| MetadataMap::new());
    let many_cpu = cpu_of(&many, multitude::metadata_of);
    let what = format!(
        "{} tenants, {} callers, beside one of each",
        multitude::TENANTS,
        multitude::CALLERS
    );
    let mut note = |unit, many, one| results.note(&what, unit, many, Some(one));
    note("CPU µs/call", many_cpu, one_cpu);
    note(
        "MiB",
        resident_bytes(many.pid()) / MIB,
        resident_bytes(one.pid()) / MIB,
    );
    note(
        "start ms",
        micros(many.start_time) / 1e3,
        micros(one.start_time) / 1e3,
    );
    let before = CpuTime::of(many.pid());
    let took = files.reload(&many);
    let cpu = CpuTime::of(many.pid()).since(&before);
    results.note(&what, "reload ms", micros(took) / 1e3, None);
    results.note(&what, "reload CPU ms", micros(cpu) / 1e3, None);
}

/// Every event to every stream, and copies of the same frame to as many sockets.
fn follow(results: &mut Results, streams: usize, events: u32) {
    let gateway = Gateway::start();
    let quiet = Webhooks::new(0, QUIET_EVENTS);
    let mut delivered = delivery::deliver(&gateway, streams, &quiet, Load::Every(QUIET_PACE));
    let frame_bytes = FRAME_HEADER_BYTES + delivered.bytes_per_event;
    let limit = socket_writes::cpu_per_copy(streams, frame_bytes, QUIET_EVENTS, Some(QUIET_PACE));
    let what = format!("{streams} streams, 10 events/s");
    let cpu = micros(delivered.cpu);
    results.note(&what, "CPU µs/delivery", cpu, Some(micros(limit)));
    let nats = nats::cpu_per_delivery(streams, QUIET_EVENTS, Some(QUIET_PACE));
    let beside = format!("{what}, beside nats-server");
    results.note(&beside, "CPU µs/delivery", cpu, Some(micros(nats)));
    note_delays(results, &what, &mut delivered);

    let many = Webhooks::new(QUIET_EVENTS, events);
    let load = Load::Saturated(SATURATING_SENDERS);
    let delivered = delivery::deliver(&gateway, streams, &many, load);
    let limit = socket_writes::cpu_per_copy(streams, frame_bytes, events, None);
    let what = format!("{streams} streams, saturated");
    let cpu = micros(delivered.cpu);
    results.note(&what, "CPU µs/delivery", cpu, Some(micros(limit)));
    let nats = nats::cpu_per_delivery(streams, events, None);
    let beside = format!("{what}, beside nats-server");
    results.note(&beside, "CPU µs/delivery", cpu, Some(micros(nats)));
}

fn note_delays(results: &mut Results, what: &str, delivered: &mut Delivered) {
    for (unit, part) in [("p50 ms", 0.5), ("p99 ms", 0.99)] {
        let delay = micros(quantile(&mut delivered.delays, part)) / 1e3;
        results.note(what, unit, delay, None);
    }
}

/// Events that each concern one of many streams, beside the same events with few streams.
fn concern(results: &mut Results) {
    let [few, many] = SUBJECTS.map(|subjects| {
        let gateway = Gateway::start();
        concerned::deliver(&gateway, subjects, CONCERNING_EVENTS, CONCERNING_PACE)
    });
    let what = format!("1 of {} streams, beside 1 of {}", SUBJECTS[1], SUBJECTS[0]);
    let (few, many_cpu) = (micros(few.cpu), micros(many.cpu));
    results.note(&what, "CPU µs/event", many_cpu, Some(few));
    let what = format!("{} idle streams with a filter", SUBJECTS[1]);
    results.note(&what, "bytes/stream", many.memory, None);
}

/// The memory of streams that get nothing, their share of the connections included.
fn idle(results: &mut Results, streams: usize) {
    let gateway = Gateway::start();
    let before = resident_bytes(gateway.pid());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let open = runtime.block_on(streams::open(gateway.grpc, streams));
    let grown = resident_bytes(gateway.pid()) - before;
    let each = grown / open.len() as f64;
    results.note(
        &format!("{streams} idle streams"),
        "bytes/stream",
        each,
        None,
    );
}

/// From the start of the process to `ready`.
fn start(results: &mut Results) {
    let directory = gateway::new_directory();
    let mut filled = 0;
    for events in FILLED {
        eprintln!("filling a log with {events} events");
        filled_log::fill(directory.path(), filled..events);
        filled = events;
        for _ in 0..ROUNDS {
            let gateway = Gateway::start_on(directory.path());
            let took = micros(gateway.start_time) / 1e3;
            results.note(&format!("start with {events} events"), "ms", took, None);
        }
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
