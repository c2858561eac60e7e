//! The verbs that call a gateway: flags in, a readable table or JSON out.

use std::{error::Error, process::ExitCode, time::Duration};

use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{
    BAD_CONFIGURATION,
    call_args::{CallArgs, CreateSubjectArgs, GetRequestArgs, GetSubjectArgs, ScreenArgs},
    complain,
    failure::{Failed, Kind},
    print, say,
};
use crate::pb::{
    CreateSubjectResponse, GetRequestResponse, GetSubjectResponse, ScreenResponse,
    compliance_service_client::ComplianceServiceClient,
};

/// How long the first exchange with it may take.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) type Client = ComplianceServiceClient<Channel>;

pub(super) async fn screen(args: ScreenArgs) -> ExitCode {
    let (to, request) = args.into_call();
    let answer = call(&to, request, async |mut client, request| {
        client.screen(request).await
    })
    .await;
    show(
        &to,
        Kind::Paid,
        answer,
        "ScreenResponse",
        |answer: &ScreenResponse| answer.screening.as_ref().map(print::screening),
    )
}

pub(super) async fn create_subject(args: CreateSubjectArgs) -> ExitCode {
    let (to, request) = args.into_call();
    let answer = call(&to, request, async |mut client, request| {
        client.create_subject(request).await
    })
    .await;
    show(
        &to,
        Kind::Paid,
        answer,
        "CreateSubjectResponse",
        |answer: &CreateSubjectResponse| answer.subject.as_ref().map(print::subject),
    )
}

pub(super) async fn get_subject(args: GetSubjectArgs) -> ExitCode {
    let (to, request) = args.into_call();
    let answer = call(&to, request, async |mut client, request| {
        client.get_subject(request).await
    })
    .await;
    show(
        &to,
        Kind::Reading,
        answer,
        "GetSubjectResponse",
        |answer: &GetSubjectResponse| answer.subject.as_ref().map(print::subject),
    )
}

pub(super) async fn get_request(args: GetRequestArgs) -> ExitCode {
    let (to, request) = args.into_call();
    let answer = call(&to, request, async |mut client, request| {
        client.get_request(request).await
    })
    .await;
    show(
        &to,
        Kind::Reading,
        answer,
        "GetRequestResponse",
        |answer: &GetRequestResponse| answer.record.as_ref().map(print::request_record),
    )
}

/// Connects to a gateway.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Client, Failed> {
    Ok(Client::new(channel(endpoint).await?))
}

async fn channel(endpoint: &Endpoint) -> Result<Channel, Failed> {
    let connected = endpoint.connect().await;
    connected.map_err(|error| Failed::connecting(endpoint.uri().to_string(), &error))
}

/// A first exchange, whose answer does not matter. A caller's certificate, or that there is none, is looked at when the
/// connection is made for the caller already (TLS 1.3), and a call that ends with it could have happened, for all that
/// the caller knows.
async fn begin(channel: Channel) -> Result<(), Failed> {
    let request = with_timeout(HealthCheckRequest::default(), BEGIN_TIMEOUT);
    match HealthClient::new(channel).check(request).await {
        Err(status) => match status.source() {
            Some(error) => Err(Failed::beginning(error)),
            // It came from the other side.
            None => Ok(()),
        },
        Ok(_) => Ok(()),
    }
}

pub(super) fn with_timeout<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

/// Makes one call.
async fn call<M, T>(
    to: &CallArgs,
    request: M,
    send: impl AsyncFnOnce(Client, Request<M>) -> Result<Response<T>, Status>,
) -> Result<T, Failed> {
    let way_in = to.gateway.way_in().await?;
    let channel = channel(way_in.endpoint()).await?;
    begin(channel.clone()).await?;
    let mut request = way_in.request(request);
    request.set_timeout(to.timeout);
    Ok(send(Client::new(channel), request).await?.into_inner())
}

/// Prints the answer, or the one line that says what to do.
fn show<T: prost::Message>(
    to: &CallArgs,
    kind: Kind,
    answer: Result<T, Failed>,
    message_name: &str,
    table: impl FnOnce(&T) -> Option<String>,
) -> ExitCode {
    match answer {
        Ok(answer) if to.json => say(print::json(message_name, &answer)),
        Ok(answer) => match table(&answer) {
            Some(table) => say(table),
            None => return complain(1, "the gateway's answer is empty"),
        },
        Err(failed) => {
            let code = if matches!(failed, Failed::Flag(_)) {
                BAD_CONFIGURATION
            } else {
                1
            };
            return complain(code, failed.sentence(kind));
        }
    }
    ExitCode::SUCCESS
}
