//! The README tells the truth about the settings.

use std::{fs, path::Path};

use kora_gateway::config::{Kind, SETTINGS};

/// What the help says of a setting that has no default and must be there.
const REQUIRED: &str = " (required without [[tenants]])";

#[test]
fn the_manuals_table_is_the_table_of_settings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let manual = fs::read_to_string(path).unwrap();
    let table: Vec<_> = manual
        .lines()
        .skip_while(|line| !line.starts_with("| flag | variable |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .collect();
    let expected: Vec<_> = SETTINGS
        .iter()
        .map(|setting| {
            let (flag, variable) = match setting.kind {
                Kind::Secret => ("secret".to_owned(), format!("`{}`, `…_FILE`", setting.env)),
                _ => (
                    format!("`--{}`", setting.name),
                    format!("`{}`", setting.env),
                ),
            };
            let default = match setting.default {
                Some(default) => format!("`{default}`"),
                None if setting.help.contains(REQUIRED) => {
                    "required without `[[tenants]]`".to_owned()
                }
                None => "none".to_owned(),
            };
            let meaning = setting.help.replace(REQUIRED, "");
            format!("| {flag} | {variable} | {default} | {meaning} |")
        })
        .collect();
    assert_eq!(table, expected);
}
