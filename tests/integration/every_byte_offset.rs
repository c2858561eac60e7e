//! An exchange with Kora that breaks after any byte: what the caller is told is never more than is certain,
//! and nothing that may have happened is sent again.

mod lane;
mod verdict;

use std::{collections::BTreeMap, iter, sync::Arc};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::fault_proxy::{Fault, Place, Plan};
use lane::{Exchange, Kora, Lane};
use verdict::check;

/// Which offsets are tried, and how the calls are spread.
#[derive(Clone, Copy)]
struct Extent {
    /// Every so many-th offset, and both ends.
    stride: usize,
    /// How many calls one gateway gets, one after the other.
    calls_per_lane: usize,
    /// How many gateways are at work at a time.
    lanes_at_a_time: usize,
}

const EVERY_OFFSET: Extent = Extent {
    stride: 1,
    calls_per_lane: 128,
    lanes_at_a_time: 6,
};

const SOME_OFFSETS: Extent = Extent {
    stride: 16,
    ..EVERY_OFFSET
};

/// Each costs a timeout, in which nothing else happens.
const STALLS: Extent = Extent {
    calls_per_lane: 6,
    lanes_at_a_time: 32,
    ..SOME_OFFSETS
};

/// What calls in one gateway have in common.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub kora: Kora,
    pub has_request_id: bool,
    pub fault: Fault,
}

const CUTS: [Fault; 2] = [Fault::Cut, Fault::Reset];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screening_that_is_cut_after_any_byte() {
    let lanes = settings(&[Kora::Screens], &CUTS);
    let exchanges = play(lanes, EVERY_OFFSET).await;
    report(&exchanges);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_or_failure_that_is_cut() {
    let kora = [Kora::LimitsRates, Kora::Fails, Kora::TakesTooLong];
    play(settings(&kora, &CUTS), SOME_OFFSETS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screening_that_stalls_until_it_is_too_late() {
    let lanes = settings(&[Kora::Screens], &[Fault::Stall]);
    play(lanes, STALLS).await;
}

/// Each of these, with and without a request id.
fn settings(kora: &[Kora], faults: &[Fault]) -> Vec<Setting> {
    let mut settings = Vec::new();
    for &kora in kora {
        for &fault in faults {
            settings.extend([false, true].map(|has_request_id| Setting {
                kora,
                has_request_id,
                fault,
            }));
        }
    }
    settings
}

/// Plays the offsets in every setting, and checks each.
async fn play(settings: Vec<Setting>, extent: Extent) -> Vec<Exchange> {
    let permits = Arc::new(Semaphore::new(extent.lanes_at_a_time));
    let mut lanes = JoinSet::new();
    for setting in settings {
        let places = places(setting, extent.stride).await;
        let calls = match setting.kora {
            // Then the gateway sends nothing for a while.
            Kora::LimitsRates => 1,
            _ => extent.calls_per_lane,
        };
        for places in places.chunks(calls) {
            let (places, permits) = (places.to_vec(), Arc::clone(&permits));
            lanes.spawn(async move {
                let _permit = permits.acquire().await.unwrap();
                play_lane(setting, places).await
            });
        }
    }
    lanes.join_all().await.into_iter().flatten().collect()
}

/// One call after the other.
async fn play_lane(setting: Setting, places: Vec<Place>) -> Vec<Exchange> {
    let fault = setting.fault;
    let mut lane = Lane::start(setting).await;
    let mut exchanges = Vec::new();
    for place in places {
        if !exchanges.is_empty() {
            lane.answer_twice().await;
        }
        let exchange = lane.call(Plan { fault, place }).await;
        check(setting, &exchange);
        exchanges.push(exchange);
    }
    lane.end(&exchanges).await;
    exchanges
}

/// The places of a request and its answer, both ends included. They are measured with a call that goes well;
/// answers differ by a few bytes, so the end of them is named as such.
async fn places(setting: Setting, stride: usize) -> Vec<Place> {
    let mut lane = Lane::start(setting).await;
    let whole = lane.call(Plan::NONE).await;
    check(setting, &whole);
    let passage = whole.passages.last().unwrap();
    let (request, answer) = (passage.request_length.unwrap(), passage.passed_on);
    lane.end(&[whole]).await;
    assert!(request > 300 && answer > 300, "the offsets are too few");
    let offsets = |length| (0..length).step_by(stride);
    let requests = offsets(request).chain(iter::once(request));
    let answers = offsets(answer).chain(iter::once(usize::MAX));
    requests
        .map(Place::Request)
        .chain(answers.map(Place::Answer))
        .collect()
}

/// Says how many offsets leave the caller without knowing.
#[expect(clippy::print_stdout, reason = "people ask for these numbers")]
fn report(exchanges: &[Exchange]) {
    let mut counts: BTreeMap<_, [usize; 2]> = BTreeMap::new();
    for Exchange { plan, answer, .. } in exchanges {
        let part = match plan.place {
            Place::Request(_) => "request",
            Place::Answer(_) => "answer",
        };
        let is_unknown = answer.outcome().as_deref() == Some("UNKNOWN");
        let [unknown, all] = counts
            .entry((part, format!("{:?}", plan.fault)))
            .or_default();
        *unknown += usize::from(is_unknown);
        *all += 1;
    }
    for ((part, fault), [unknown, all]) in counts {
        println!("{fault} in the {part}: {unknown} of {all} offsets end UNKNOWN");
    }
}
