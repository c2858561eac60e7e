//! `check-config`: what would be in effect, and where it came from. Binds nothing.

use std::{process::ExitCode, sync::Arc};

use comfy_table::{Row, Table, presets};
use jiff::fmt::temporal::DateTimePrinter;

use super::{BAD_CONFIGURATION, ServeArgs, complain, log_directives, say};
use crate::{
    access::{Caller, Right},
    app,
    config::{Config, Environment, Loaded},
    telemetry,
};

/// To the second, UTC.
const RFC_3339: DateTimePrinter = DateTimePrinter::new().precision(Some(0));

pub(super) fn check_config(args: ServeArgs, environment: &Environment) -> ExitCode {
    let loaded = match Config::load(args.settings.0, environment, args.emulator) {
        Ok(loaded) => loaded,
        Err(problems) => return complain(BAD_CONFIGURATION, problems),
    };
    let filter = log_directives(environment).and_then(telemetry::log_filter);
    if let Err(problem) = filter {
        return complain(BAD_CONFIGURATION, problem);
    }
    if let Err(error) = app::check(&loaded.config) {
        return complain(BAD_CONFIGURATION, error);
    }
    say(settings(&loaded));
    say("");
    say(secrets(&loaded));
    say("");
    say(tenants(&loaded.config));
    say("");
    if let Some(everyone) = loaded.everyone() {
        say(format_args!("callers: {everyone}"));
    }
    if let Some(listed) = loaded.config.callers.listed() {
        say(callers(&listed));
    }
    for warning in &loaded.warnings {
        say(format_args!("warning: {warning}"));
    }
    ExitCode::SUCCESS
}

fn settings(loaded: &Loaded) -> Table {
    let rows = loaded.effective.iter().map(|effective| {
        [
            effective.name.to_owned(),
            effective.value.clone().unwrap_or("(none)".to_owned()),
            effective.origin.to_string(),
        ]
    });
    table(["setting", "value", "from"], rows)
}

/// Where each secret came from, and when its file was last changed: after a rotation one wants to know.
fn secrets(loaded: &Loaded) -> Table {
    let rows = loaded.secrets.iter().map(|secret| {
        let modified = secret
            .modified
            .map(|modified| RFC_3339.timestamp_to_string(&modified));
        [
            secret.name.clone(),
            secret.from.clone(),
            modified.unwrap_or("(no file)".to_owned()),
        ]
    });
    table(["secret", "from", "file changed"], rows)
}

fn tenants(config: &Config) -> Table {
    let rows = config.tenants.iter().map(|tenant| {
        let id = &tenant.kora.tenant_id;
        [
            tenant.name.clone(),
            id.clone(),
            tenant.kora.base_url.to_string(),
            config.store.log_name(id),
        ]
    });
    table(["tenant", "id at Kora", "base URL", "event log"], rows)
}

/// Who may do what; an auditor asks.
fn callers(listed: &[Arc<Caller>]) -> Table {
    let rows = listed.iter().map(|caller| {
        let rights = Right::ALL.into_iter();
        let rights = rights.filter(|right| caller.rights.include(*right));
        let tenants = caller.tenants.iter().map(String::as_str);
        [
            caller.name.to_string(),
            caller.scope().to_string(),
            caller.tokens.len().to_string(),
            caller.certificate_names.join(", "),
            tenants.collect::<Vec<_>>().join(", "),
            rights.map(Right::name).collect::<Vec<_>>().join(", "),
        ]
    });
    let header = [
        "caller",
        "request ids of",
        "tokens",
        "certificate names",
        "tenants",
        "rights",
    ];
    table(header, rows)
}

fn table(header: impl Into<Row>, rows: impl IntoIterator<Item = impl Into<Row>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    table.add_rows(rows);
    table
}
