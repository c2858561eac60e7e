//! `store`: a tenant's log into a file, and from there into another place; copies of a running gateway's logs.

use std::{path::PathBuf, process::ExitCode};

use super::{
    BAD_CONFIGURATION,
    backup::{self, BackupArgs},
    complain, init_logging, say,
    setting_flags::TenantLogFlags,
};
use crate::{
    app,
    config::{Environment, TenantLog},
};

#[derive(clap::Subcommand)]
pub(super) enum StoreVerb {
    /// Write the log of a gateway that is stopped into a file: events, request records and polls
    Export(StoreArgs),
    /// Fill an empty log from such a file
    Import(StoreArgs),
    /// Have a running gateway copy its logs into a directory, while it goes on
    Backup(BackupArgs),
}

#[derive(clap::Args)]
pub(super) struct StoreArgs {
    /// The file; it holds personal data
    file: PathBuf,
    #[command(flatten)]
    log: TenantLogFlags,
}

pub(super) async fn run(verb: StoreVerb, environment: &Environment) -> ExitCode {
    let args = match &verb {
        StoreVerb::Export(args) | StoreVerb::Import(args) => args,
        StoreVerb::Backup(args) => return backup::run(args).await,
    };
    let log = match TenantLog::load(args.log.0.clone(), environment) {
        Ok(log) => log,
        Err(problems) => return complain(BAD_CONFIGURATION, problems),
    };
    if let Err(code) = init_logging(environment, "warn") {
        return code;
    }
    let moved = match &verb {
        StoreVerb::Import(_) => ("imported", app::import_log(&log, &args.file).await),
        StoreVerb::Export(_) | StoreVerb::Backup(_) => {
            ("exported", app::export_log(&log, &args.file).await)
        }
    };
    match moved {
        (done, Ok(counts)) => {
            say(format_args!("{done} {counts}"));
            ExitCode::SUCCESS
        }
        (_, Err(error)) => complain(1, error),
    }
}
