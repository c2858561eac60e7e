//! The verbs that call a gateway: flags in, a readable table or JSON out.

use std::{process::ExitCode, time::Duration};

use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint},
};

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

/// How long connecting to the gateway may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

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

/// Where a gateway is.
pub(super) fn endpoint(gateway: &str) -> Result<Endpoint, Failed> {
    let endpoint = Endpoint::from_shared(gateway.to_owned()).map_err(|_| Failed::NoUrl)?;
    Ok(endpoint.connect_timeout(CONNECT_TIMEOUT))
}

/// Connects to a gateway.
pub(super) async fn connect(endpoint: &Endpoint) -> Result<Client, Failed> {
    match endpoint.connect().await {
        Ok(channel) => Ok(Client::new(channel)),
        Err(_) => Err(Failed::NoGateway(endpoint.uri().to_string())),
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
    let client = connect(&endpoint(&to.gateway)?).await?;
    Ok(send(client, with_timeout(request, to.timeout))
        .await?
        .into_inner())
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
            let code = if matches!(failed, Failed::NoUrl) {
                BAD_CONFIGURATION
            } else {
                1
            };
            return complain(code, failed.sentence(kind));
        }
    }
    ExitCode::SUCCESS
}
