//! The callers, which the configuration file alone can list: `[[callers]]`.

mod entry;
mod file;
mod reading;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

pub use file::CallersFile;

use super::reader::{Problem, Reader};
use crate::access::{ANONYMOUS, Ambiguous, Caller, Callers};
use entry::Entry;

/// The key in the file.
pub(super) const CALLERS: &str = "callers";

/// How many callers one gateway may have.
pub const MAX_CALLERS: usize = 100_000;

/// What callers are checked against.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    /// The names of the gateway's tenants.
    pub(super) tenants: BTreeSet<String>,
    /// Whether callers can show certificates.
    pub(super) has_client_ca: bool,
}

/// Who may call, for these tenants, and the file that lists them, where there is one that can be read again; `None` after a problem.
pub(super) fn callers(
    reader: &mut Reader<'_>,
    tenants: BTreeSet<String>,
) -> Option<(Callers, Option<CallersFile>)> {
    let around = Surroundings {
        tenants,
        has_client_ca: reader.is_set("tls-client-ca"),
    };
    let callers = match reader.listed(CALLERS).map(|listed| around.callers(&listed)) {
        None => Callers::everyone(Caller::anonymous(around.tenants.clone())),
        Some(Ok(listed)) => {
            reader.rotated_in_config(CALLERS);
            Callers::only(listed).expect("twins were refused")
        }
        Some(Err(problems)) => {
            reader.problems(problems);
            return None;
        }
    };
    // A pipe can be read once alone.
    let path = reader.file().filter(|path| path.is_file());
    let path = path.map(Path::to_owned);
    Some((callers, path.map(|path| CallersFile::new(path, around))))
}

impl Surroundings {
    /// Reads the list.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(super) fn callers(&self, listed: &toml::Value) -> Result<Vec<Caller>, Vec<Problem>> {
        let problem = |what: String| {
            Err(vec![Problem {
                key: CALLERS.to_owned(),
                what,
            }])
        };
        let entries = match listed {
            toml::Value::Array(entries) if entries.len() <= MAX_CALLERS => entries,
            toml::Value::Array(_) => {
                return problem(format!("has more than {MAX_CALLERS} entries"));
            }
            _ => return problem("is not a list: write [[callers]] over each".to_owned()),
        };
        let mut problems = Vec::new();
        let mut names = BTreeSet::new();
        let mut callers = Vec::new();
        for (number, value) in entries.iter().enumerate() {
            let mut entry = Entry::new(number, value, &mut problems);
            let Some(caller) = entry.caller(self) else {
                continue;
            };
            if !names.insert(caller.name.clone()) {
                entry.problem("name", "is that of another caller too");
            }
            callers.push(caller);
        }
        if problems.is_empty() {
            problems.extend(twins(&callers));
            problems.extend(shared_scopes(&callers));
        }
        if problems.is_empty() {
            Ok(callers)
        } else {
            Err(problems)
        }
    }
}

/// What two callers are known by.
fn twins(callers: &[Caller]) -> Option<Problem> {
    let Ambiguous { position, is_token } = Callers::only(callers.to_vec()).err()?;
    let key = if is_token { "token_sha256" } else { "san" };
    Some(Problem {
        key: format!("{CALLERS}[{position}].{key}"),
        what: "has something twice, or what another caller is known by".to_owned(),
    })
}

/// Each caller that would see another one's request ids. Only those of the time before there were names may be shared.
fn shared_scopes(callers: &[Caller]) -> Vec<Problem> {
    let mut names = BTreeMap::new();
    let mut scopes: BTreeMap<_, usize> = BTreeMap::new();
    for (number, caller) in callers.iter().enumerate() {
        names.insert(&caller.name, number);
        *scopes.entry(caller.scope()).or_default() += 1;
    }
    let problem = |(number, caller): (usize, &Caller)| {
        let ids_of = caller.ids_of.as_ref()?;
        let what = if &**ids_of == ANONYMOUS {
            return None;
        } else if names.get(ids_of).is_some_and(|other| *other != number) {
            "is the name of another caller"
        } else if scopes[ids_of] > 1 {
            "is that of another caller too"
        } else {
            return None;
        };
        Some(Problem {
            key: format!("{CALLERS}[{number}].ids_of"),
            what: what.to_owned(),
        })
    };
    callers.iter().enumerate().filter_map(problem).collect()
}

#[cfg(test)]
mod tests;
