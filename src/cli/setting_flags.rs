//! One flag for every setting, made from the table of settings.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::{Flags, Kind, SETTINGS, Setting, TENANT_LOG_SETTINGS};

/// The settings that were given as flags.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingFlags(pub(super) Flags);

/// The same, of those that name a tenant's log.
#[derive(Clone, Debug, Default)]
pub(super) struct TenantLogFlags(pub(super) Flags);

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        augment(command, settings()).after_help(SECRETS)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(SettingFlags(given(matches, settings())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for TenantLogFlags {
    fn augment_args(command: Command) -> Command {
        augment(command, tenant_log_settings())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for TenantLogFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(TenantLogFlags(given(matches, tenant_log_settings())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Those that have a flag.
fn settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS
        .iter()
        .filter(|setting| setting.kind != Kind::Secret)
}

fn tenant_log_settings() -> impl Iterator<Item = &'static Setting> {
    settings().filter(|setting| TENANT_LOG_SETTINGS.contains(&setting.name))
}

fn augment(command: Command, settings: impl Iterator<Item = &'static Setting>) -> Command {
    let file = Arg::new("config")
        .long("config")
        .value_name("PATH")
        .help("A TOML file with settings [env: GATEWAY_CONFIG]");
    settings.map(flag).fold(command.arg(file), Command::arg)
}

fn given(matches: &ArgMatches, settings: impl Iterator<Item = &'static Setting>) -> Flags {
    let given: BTreeMap<_, _> = settings
        .map(|setting| setting.name)
        .chain(["config"])
        .filter_map(|name| Some((name, matches.get_one::<String>(name)?.clone())))
        .collect();
    Flags(given)
}

const SECRETS: &str = "Secrets have no flags: set KORA_API_KEY and KORA_WEBHOOK_SECRET, or \
                       KORA_API_KEY_FILE and KORA_WEBHOOK_SECRET_FILE to the paths of files that hold them.";

fn flag(setting: &'static Setting) -> Arg {
    let default = match setting.default {
        Some(default) => format!(" [default: {default}]"),
        None => String::new(),
    };
    let arg = Arg::new(setting.name)
        .long(setting.name)
        .help(format!("{} [env: {}]{default}", setting.help, setting.env));
    match setting.kind {
        Kind::Value(placeholder) => arg.value_name(placeholder),
        // `--flag` alone turns it on; `--flag=false` beats a variable that does.
        Kind::Switch | Kind::Secret => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("true|false"),
    }
}
