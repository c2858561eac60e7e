//! Time goes one way, and a time is found by its records.

use std::time::Duration;

use jiff::Timestamp;
use kora_gateway::store::EventLog;

use super::{Place, append, laws};

laws! {
    time_never_goes_back,
    a_time_is_found_by_its_records,
}

async fn time_never_goes_back<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    append(&log, "a").await;
    place.hands().turn(-5000);
    append(&log, "b").await;
    let page = log.read(0).await.unwrap();
    assert_eq!(page[0].receive_time, page[1].receive_time);
    P::close(&log).await;
    // Nor after a restart.
    let log = place.open().await;
    append(&log, "c").await;
    let page = log.read(0).await.unwrap();
    assert_eq!(page[0].receive_time, page[2].receive_time);
}

async fn a_time_is_found_by_its_records<P: Place>() {
    let place = P::new().await;
    let log = place.open().await;
    let start = place.hands().milliseconds();
    let at = |seconds: i64| Timestamp::from_millisecond(start + seconds * 1000).unwrap();
    assert_eq!(log.position_before(at(0)).await.unwrap().sequence, 0);
    // However long ago: a log that nothing was removed from has no gap.
    let long_ago = Timestamp::from_second(-1).unwrap();
    assert_eq!(log.position_before(long_ago).await.unwrap().sequence, 0);
    for number in 0..100 {
        append(&log, &format!("e{number}")).await;
        // Two records for each time.
        if number % 2 == 1 {
            place.pass(Duration::from_secs(10));
        }
    }
    for (seconds, before) in [
        (-5, 0),
        (0, 0),
        (1, 2),
        (10, 2),
        (11, 4),
        (490, 98),
        (491, 100),
    ] {
        let position = log.position_before(at(seconds)).await.unwrap();
        assert_eq!(position.sequence, before, "{seconds}");
        assert_eq!(position.checksum == 0, before == 0);
    }
}
