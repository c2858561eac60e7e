//! `check-config`: what would be in effect, and where it came from. Binds nothing.

use std::process::ExitCode;

use comfy_table::{Table, presets};

use super::{BAD_CONFIGURATION, ServeArgs, complain, say};
use crate::{
    app,
    config::{Config, Environment},
    telemetry,
};

pub(super) fn check_config(args: ServeArgs, environment: &Environment) -> ExitCode {
    let loaded = match Config::load(args.settings.0, environment, args.emulator) {
        Ok(loaded) => loaded,
        Err(problems) => return complain(BAD_CONFIGURATION, problems),
    };
    let directives = environment.get("RUST_LOG").map(String::as_str);
    if let Err(problem) = telemetry::log_filter(directives) {
        return complain(BAD_CONFIGURATION, problem);
    }
    if let Err(error) = app::check(&loaded.config) {
        return complain(BAD_CONFIGURATION, error);
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["setting", "value", "from"]);
    for effective in &loaded.effective {
        table.add_row([
            effective.name,
            effective.value.as_deref().unwrap_or("(none)"),
            &effective.origin.to_string(),
        ]);
    }
    say(table);
    for warning in &loaded.warnings {
        say(format_args!("warning: {warning}"));
    }
    ExitCode::SUCCESS
}
