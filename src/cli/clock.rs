//! `clock`: what gateway time is, and accepting a step of the wall clock, at a running gateway.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use reqwest::{Client, StatusCode};

use super::{cause::with_causes, complain, say};
use crate::admin::{ACCEPT_PATH, CLOCK_PATH, ClockReport, STEP_HEADER};

/// How long the gateway has to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Subcommand)]
pub(super) enum ClockVerb {
    /// Print gateway time, the wall clock, and the step between them that is not followed yet
    Status(AdminArgs),
    /// Follow the pending step of the wall clock at once, after checking that the clock is right
    Accept(AdminArgs),
}

#[derive(Args)]
pub(super) struct AdminArgs {
    /// The gateway's admin address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    admin_addr: SocketAddr,
}

pub(super) async fn run(verb: ClockVerb) -> ExitCode {
    let result = match &verb {
        ClockVerb::Status(args) => status(args).await,
        ClockVerb::Accept(args) => accept(args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => complain(1, problem),
    }
}

async fn status(args: &AdminArgs) -> Result<(), String> {
    let report = report(args).await?;
    say(format_args!("gateway time  {}", report.gateway_time));
    say(format_args!("wall clock    {}", report.wall_clock));
    match (report.pending_step_seconds, report.follows_in_seconds) {
        (Some(step), Some(follows_in)) => say(format_args!(
            "pending step  {step:+} s, followed in {follows_in} s if it stands, or with `clock accept`"
        )),
        _ => say("pending step  none"),
    }
    Ok(())
}

async fn accept(args: &AdminArgs) -> Result<(), String> {
    let report = report(args).await?;
    let step = report
        .pending_step_seconds
        .ok_or("no step of the wall clock is pending")?;
    let answer = client()?
        .post(url(args, ACCEPT_PATH))
        .header(STEP_HEADER, step)
        .send()
        .await
        .map_err(unreachable)?;
    match answer.status() {
        StatusCode::OK => {
            say(format_args!("accepted a step of {step:+} s"));
            Ok(())
        }
        StatusCode::CONFLICT => {
            Err("the step changed meanwhile: look at `clock status`".to_owned())
        }
        other => Err(format!("the gateway answers {other}")),
    }
}

async fn report(args: &AdminArgs) -> Result<ClockReport, String> {
    let answer = client()?
        .get(url(args, CLOCK_PATH))
        .send()
        .await
        .map_err(unreachable)?;
    let body = answer.bytes().await.map_err(unreachable)?;
    serde_json::from_slice(&body).map_err(|_| "what answers is no gateway's admin port".to_owned())
}

fn client() -> Result<Client, String> {
    let client = Client::builder().no_proxy().timeout(TIMEOUT).build();
    client.map_err(|error| with_causes(&error))
}

fn url(args: &AdminArgs, path: &str) -> String {
    format!("http://{}{path}", args.admin_addr)
}

fn unreachable(error: reqwest::Error) -> String {
    format!(
        "the gateway's admin port does not answer: {}",
        with_causes(&error.without_url())
    )
}
