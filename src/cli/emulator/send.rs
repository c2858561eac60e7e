//! `emulator send`: a running emulator fires a webhook by hand, and its receiver's answer is shown.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use reqwest::{Client, RequestBuilder, StatusCode, redirect};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::super::{complain, say};

/// The emulator's door.
const DOOR: &str = "/__emulator/webhooks";

/// How long one exchange with the emulator may take.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the webhook's receiver is waited for. The emulator goes on after that.
const PATIENCE: Duration = Duration::from_secs(10);

/// Pause between two looks at what became of the webhook.
const PAUSE: Duration = Duration::from_millis(50);

/// How much of the emulator's answer is read: more than its list of deliveries can hold.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

#[derive(clap::Args)]
pub(super) struct SendArgs {
    /// The event, such as screening.completed
    event: String,
    /// What the event tells: a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = object)]
    data: Map<String, Value>,
    /// The event's id [default: one that is made up]
    #[arg(long)]
    id: Option<String>,
    /// Where the emulator is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4010")]
    emulator: Url,
}

/// The emulator's answer to a webhook that it sends.
#[derive(Deserialize)]
struct Fired {
    id: Option<String>,
    deliveries: Vec<u64>,
}

#[derive(Deserialize)]
struct List {
    deliveries: Vec<Delivery>,
}

/// What became of a delivery, as the emulator lists it.
#[derive(Deserialize)]
struct Delivery {
    number: u64,
    progress: String,
    attempts: u32,
    status: Option<u16>,
}

/// Sends the webhook. The exit code is 0 when every receiver answered 200.
pub(super) async fn send(args: SendArgs) -> ExitCode {
    match fire_and_watch(args).await {
        Ok((line, true)) => {
            say(line);
            ExitCode::SUCCESS
        }
        Ok((line, false)) | Err(line) => complain(1, line),
    }
}

/// What happened in one line, and whether all deliveries were answered 200.
async fn fire_and_watch(args: SendArgs) -> Result<(String, bool), String> {
    let mut door = args.emulator;
    door.set_path(DOOR);
    let client = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(EXCHANGE_TIMEOUT)
        .build()
        .map_err(|_| "no HTTP client can be set up".to_owned())?;
    let document = json!({ "event": args.event, "data": args.data, "id": args.id });
    let fired = client.post(door.clone()).body(document.to_string());
    let fired: Fired = ask(fired, StatusCode::ACCEPTED).await?;
    let deliveries = watch(&client, &door, &fired.deliveries).await?;
    let sentences: Vec<_> = deliveries.iter().map(Delivery::sentence).collect();
    let name = match fired.id {
        Some(id) => format!("{} {id}", args.event),
        None => args.event,
    };
    let line = format!("{name}: {}", sentences.join("; "));
    Ok((line, deliveries.iter().all(Delivery::is_delivered)))
}

/// Waits until the deliveries are over, or for as long as patience lasts.
async fn watch(client: &Client, door: &Url, numbers: &[u64]) -> Result<Vec<Delivery>, String> {
    let asked = Instant::now();
    loop {
        let list: List = ask(client.get(door.clone()), StatusCode::OK).await?;
        let listed: Vec<_> = list
            .deliveries
            .into_iter()
            .filter(|delivery| numbers.contains(&delivery.number))
            .collect();
        if listed.len() < numbers.len() {
            return Err("the emulator no longer lists the webhook".to_owned());
        }
        let is_over = !listed.iter().any(Delivery::is_pending);
        if is_over || asked.elapsed() >= PATIENCE {
            return Ok(listed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// One exchange with the emulator.
async fn ask<T: for<'de> Deserialize<'de>>(
    request: RequestBuilder,
    expected: StatusCode,
) -> Result<T, String> {
    let no_answer = |_| {
        "no emulator answers: start one with `kora-gateway emulator --webhook-url URL`, or say where it \
         is with --emulator"
            .to_owned()
    };
    let mut answer = request.send().await.map_err(no_answer)?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(no_answer)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err("the emulator's answer is too long".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    match status {
        _ if status == expected => {
            serde_json::from_slice(&body).map_err(|_| "what answers is not an emulator".to_owned())
        }
        StatusCode::CONFLICT => Err(
            "nobody has subscribed to webhooks: start the emulator with --webhook-url URL"
                .to_owned(),
        ),
        _ => Err(format!("what answers is not an emulator: {status}")),
    }
}

impl Delivery {
    fn is_pending(&self) -> bool {
        self.progress == "pending"
    }

    fn is_delivered(&self) -> bool {
        self.progress == "delivered"
    }

    fn sentence(&self) -> String {
        let became = match self.progress.as_str() {
            "pending" => "not taken yet, the emulator goes on",
            "delivered" => "delivered",
            "given_up" => "given up",
            "withheld" => return "withheld by command".to_owned(),
            _ => return "not sent, the emulator has too much to send".to_owned(),
        };
        let answered = match self.status {
            Some(status) => format!("answered {status}"),
            None => "no answer".to_owned(),
        };
        let plural = if self.attempts == 1 { "" } else { "s" };
        format!("{became} ({answered}, {} attempt{plural})", self.attempts)
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(text).map_err(|error| format!("not a JSON object: {error}"))
}
