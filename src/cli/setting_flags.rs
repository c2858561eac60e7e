//! One flag for every setting, made from the table of settings.

use std::collections::BTreeMap;

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::config::{Flags, Kind, SETTINGS, Setting};

/// The settings that were given as flags.
#[derive(Clone, Debug, Default)]
pub(super) struct SettingFlags(pub(super) Flags);

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("PATH")
            .help("A TOML file with settings [env: GATEWAY_CONFIG]");
        SETTINGS
            .iter()
            .filter(|setting| setting.kind != Kind::Secret)
            .map(flag)
            .fold(command.arg(file), Command::arg)
            .after_help(SECRETS)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let names = SETTINGS
            .iter()
            .filter(|setting| setting.kind != Kind::Secret)
            .map(|setting| setting.name);
        let given: BTreeMap<_, _> = names
            .chain(["config"])
            .filter_map(|name| Some((name, matches.get_one::<String>(name)?.clone())))
            .collect();
        Ok(SettingFlags(Flags(given)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
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
