//! What is not taken, and that its sender gets to read why.

use super::{
    BODY,
    client::{Client, chunked_head, post, sign, sign_with, signed},
    door::{Door, MAX_BYTES},
};

/// How much a client writes that does not listen: more than the sockets' buffers hold.
const FLOOD_BYTES: usize = 16 << 20;

#[tokio::test]
async fn what_kora_did_not_sign_is_refused_with_an_empty_body() {
    let door = Door::open().await;
    let hex = sign(BODY);
    let malformed = hex[..hex.len() - 1].to_owned();
    let flipped = match hex.strip_suffix('0') {
        Some(rest) => format!("{rest}1"),
        None => format!("{malformed}0"),
    };
    for headers in [
        &[][..],
        &["x-webhook-signature:"],
        &[malformed.as_str()],
        &[flipped.as_str()],
        &[sign(format!("{BODY} ")).as_str()],
        &[super::client::sign_with("whsec_old", BODY).as_str()],
        &[hex.replace("x-webhook-signature", "x-signature").as_str()],
    ] {
        let answer = door.ask(&post("/webhooks/compliance", headers, BODY)).await;
        assert_eq!((answer.status, answer.body.len()), (401, 0), "{headers:?}");
    }
    assert_eq!(door.records().await.len(), 0);
    door.expect_counts(&[("unauthentic", 7)]);
}

#[tokio::test]
async fn signatures_that_a_proxy_joined_into_one_line_are_each_looked_at() {
    let door = Door::open().await;
    let (good, old) = (sign(BODY), sign_with("whsec_old", BODY));
    let value = |line: &str| line.split_once(':').unwrap().1.trim().to_owned();
    let (good_value, old_value) = (value(&good), value(&old));
    let joined = |values: &[&str]| format!("x-webhook-signature: {}", values.join(", "));
    let many_old = [old_value.as_str(); 7];
    let eighth = joined(&[&many_old[..], &[&good_value]].concat());
    for (headers, status) in [
        (vec![joined(&[&old_value, &good_value])], 200),
        (vec![joined(&[&good_value, &old_value])], 200),
        (
            vec![format!("x-webhook-signature: {old_value},,{good_value},")],
            200,
        ),
        (
            vec![joined(&["junk", &old_value]), joined(&["", &good_value])],
            200,
        ),
        (vec![eighth.clone()], 200),
        (vec![joined(&[&old_value, "junk"])], 401),
        // No more than eight are looked at, however they are written.
        (vec![joined(&[&old_value]), eighth], 401),
        (
            vec![format!("x-webhook-signature: {old_value} {good_value}")],
            401,
        ),
    ] {
        let lines: Vec<_> = headers.iter().map(String::as_str).collect();
        let answer = door.ask(&post("/webhooks/compliance", &lines, BODY)).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
}

#[tokio::test]
async fn what_has_no_signature_is_refused_before_its_body_is_there() {
    let door = Door::open().await;
    let mut client = Client::connect(&door).await;
    let head = "POST /webhooks/compliance HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n";
    client.send(head.as_bytes()).await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (401, Some("close"))
    );
}

#[tokio::test]
async fn a_large_body_is_refused_by_its_announced_size() {
    let door = Door::open().await;
    let mut client = Client::connect(&door).await;
    let head = post("/webhooks/compliance", &[&sign(BODY)], BODY);
    let head = String::from_utf8(head).unwrap();
    let (head, _) = head.split_once("content-length").unwrap();
    client
        .send(format!("{head}content-length: {FLOOD_BYTES}\r\n\r\n").as_bytes())
        .await;
    client.send(&vec![b'x'; FLOOD_BYTES]).await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (413, Some("close"))
    );
    client.expect_end().await;
    door.expect_counts(&[("too_large", 1)]);
    assert!(door.metrics().contains("webhooks_too_large_total 1"));
}

#[tokio::test]
async fn a_large_body_is_refused_without_an_announced_size() {
    let door = Door::open().await;
    let mut client = Client::connect(&door).await;
    client.send(&chunked_head(b"x")).await;
    let chunk = [
        format!("{:x}\r\n", MAX_BYTES).into_bytes(),
        vec![b'x'; MAX_BYTES],
        b"\r\n".to_vec(),
    ];
    for _ in 0..FLOOD_BYTES / MAX_BYTES {
        client.send(&chunk.concat()).await;
    }
    client.send(b"0\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.header("connection")),
        (413, Some("close"))
    );
    client.expect_end().await;
    assert!(door.metrics().contains("webhooks_too_large_total 1"));
}

#[tokio::test]
async fn the_largest_body_is_taken_and_one_byte_more_is_not() {
    let door = Door::open().await;
    for (size, status) in [(MAX_BYTES, 200), (MAX_BYTES + 1, 413)] {
        let body = "x".repeat(size);
        assert_eq!(door.ask(&signed(&body)).await.status, status, "{size}");
    }
}

#[tokio::test]
async fn other_methods_are_told_which_one_there_is() {
    let door = Door::open().await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "post"] {
        let request = String::from_utf8(signed(BODY))
            .unwrap()
            .replace("POST", method);
        let mut client = Client::connect(&door).await;
        client.send(request.as_bytes()).await;
        let answer = client.answer().await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, Some("post")),
            "{method}"
        );
        client.expect_end().await;
    }
    assert_eq!(door.records().await.len(), 0);
}

#[tokio::test]
async fn other_paths_are_not_there_whatever_the_method() {
    let door = Door::open().await;
    for path in [
        "/",
        "/webhooks",
        "/webhooks/compliance/",
        "/webhooks/compliance/tenant-2",
        "/webhooks/compliance/tenant-1/",
        "/webhooks/compliance/%ff",
        "/webhooks/Compliance",
        "//webhooks/compliance",
    ] {
        let request = post(path, &[&sign(BODY)], BODY);
        assert_eq!(door.ask(&request).await.status, 404, "{path}");
        let request = String::from_utf8(request).unwrap().replace("POST", "GET");
        assert_eq!(door.ask(request.as_bytes()).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_compressed_body_is_not_taken() {
    let door = Door::open().await;
    for (coding, status) in [("gzip", 415), ("identity, br", 415), ("identity", 200)] {
        let coding = format!("content-encoding: {coding}");
        let request = post("/webhooks/compliance", &[&sign(BODY), &coding], BODY);
        assert_eq!(door.ask(&request).await.status, status, "{coding}");
    }
    door.expect_counts(&[("accepted", 1), ("unsupported", 2)]);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_kept() {
    let door = Door::open().await;
    let whole = signed(BODY);
    let mut client = Client::connect(&door).await;
    client.send(&whole[..whole.len() - 1]).await;
    client.send_no_more().await;
    assert_eq!(client.answer().await.status, 400);
    client.expect_end().await;

    let mut client = Client::connect(&door).await;
    client.send(&chunked_head(BODY.as_bytes())).await;
    client.send(b"zz\r\n").await;
    assert_eq!(client.answer().await.status, 400);
    client.expect_end().await;

    let mut client = Client::connect(&door).await;
    client.send(&whole[..whole.len() - 1]).await;
    client.reset();
    door.wait_for_count("broken_off", 2).await;
    assert_eq!(door.records().await.len(), 0);
}

#[tokio::test]
async fn another_protocol_is_not_spoken() {
    let door = Door::open().await;
    let mut client = Client::connect(&door).await;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.expect_end().await;
}
