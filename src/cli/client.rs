//! The verbs that call a gateway: flags in, a readable table or JSON out.

use std::{process::ExitCode, time::Duration};

use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};

use super::{
    BAD_CONFIGURATION,
    call_args::{CallArgs, CreateSubjectArgs, GetSubjectArgs, ScreenArgs},
    complain,
    failure::sentence,
    print, say,
};
use crate::pb::{
    self, CreateSubjectResponse, GetSubjectResponse, ScreenResponse,
    compliance_service_client::ComplianceServiceClient,
};

/// How long connecting to the gateway may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) type Client = ComplianceServiceClient<Channel>;

pub(super) async fn screen(args: ScreenArgs) -> ExitCode {
    let (endpoint, json, timeout) = match prepare(&args.call) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let request = with_timeout(pb::ScreenRequest::from(args), timeout);
    let answer = async { connect(&endpoint).await?.screen(request).await }.await;
    finish(answer, json, "ScreenResponse", |answer: &ScreenResponse| {
        answer.screening.as_ref().map(print::screening)
    })
}

pub(super) async fn create_subject(args: CreateSubjectArgs) -> ExitCode {
    let (endpoint, json, timeout) = match prepare(&args.call) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let request = with_timeout(pb::CreateSubjectRequest::from(args), timeout);
    let answer = async { connect(&endpoint).await?.create_subject(request).await }.await;
    finish(
        answer,
        json,
        "CreateSubjectResponse",
        |answer: &CreateSubjectResponse| answer.subject.as_ref().map(print::subject),
    )
}

pub(super) async fn get_subject(args: GetSubjectArgs) -> ExitCode {
    let (endpoint, json, timeout) = match prepare(&args.call) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let request = with_timeout(pb::GetSubjectRequest::from(args), timeout);
    let answer = async { connect(&endpoint).await?.get_subject(request).await }.await;
    finish(
        answer,
        json,
        "GetSubjectResponse",
        |answer: &GetSubjectResponse| answer.subject.as_ref().map(print::subject),
    )
}

/// Connects to a gateway.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Client, Status> {
    let channel = endpoint.connect().await.map_err(|_| {
        Status::unavailable(format!(
            "no gateway answers at {}: start one with `kora-gateway serve`, or say where it is with \
             --gateway",
            endpoint.uri()
        ))
    })?;
    Ok(Client::new(channel))
}

pub(super) fn with_timeout<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

fn prepare(args: &CallArgs) -> Result<(Endpoint, bool, Duration), ExitCode> {
    let endpoint = Endpoint::from_shared(args.gateway.clone())
        .map_err(|_| complain(BAD_CONFIGURATION, "--gateway is not a URL"))?
        .connect_timeout(CONNECT_TIMEOUT);
    Ok((endpoint, args.json, args.timeout))
}

fn finish<T: prost::Message>(
    answer: Result<Response<T>, Status>,
    json: bool,
    message_name: &str,
    table: impl FnOnce(&T) -> Option<String>,
) -> ExitCode {
    match answer {
        Ok(answer) if json => say(print::json(message_name, answer.get_ref())),
        Ok(answer) => match table(answer.get_ref()) {
            Some(table) => say(table),
            None => return complain(1, "the gateway's answer is empty"),
        },
        Err(status) => return complain(1, sentence(&status)),
    }
    ExitCode::SUCCESS
}
