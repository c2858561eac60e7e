//! The members of a JSON object, told by another reader than the gateway's, which knows repeated names.
//!
//! It looks at quotes and brackets alone, so it reads every object that is one, and many that are none.

/// An object's names and values, each value still as it is written.
#[derive(Clone)]
pub(crate) struct Members<'a>(Vec<(String, &'a [u8])>);

impl<'a> Members<'a> {
    /// `None` if it is no object.
    pub(crate) fn of(json: &'a [u8]) -> Option<Self> {
        let mut rest = json.trim_ascii().strip_prefix(b"{")?.trim_ascii_start();
        let mut members = Vec::new();
        while !rest.starts_with(b"}") {
            let (name, after) = rest.split_at(length_of_text(rest)?);
            let name = serde_json::from_slice(name).ok()?;
            let value = after.trim_ascii_start().strip_prefix(b":")?;
            let (value, after) = value.split_at(length_of_value(value)?);
            members.push((name, value.trim_ascii()));
            rest = match after {
                [b',', after @ ..] => after.trim_ascii_start(),
                after => after,
            };
        }
        Some(Members(members))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a [u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Whether it says one thing twice.
    pub(crate) fn repeats(&self) -> bool {
        let mut names: Vec<_> = self.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    }

    /// The first value of this name, unless it is null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a [u8]> {
        let (_, value) = self.iter().find(|(known, _)| *known == name)?;
        Some(value).filter(|value| *value != b"null")
    }

    /// The same, where it is a text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_slice(self.get(name)?).ok()
    }

    /// The outcome that it decides as a screening: none unless it is completed, or `unsaid` is and it says no
    /// status, and none where it or the decision says a thing twice.
    pub(crate) fn decided(&self, unsaid: bool) -> Option<String> {
        let is_completed = match self.get("status") {
            None => unsaid,
            Some(_) => self.text("status")? == "COMPLETED",
        };
        let decision = Members::of(self.get("decision")?)?;
        let repeats = self.repeats() || decision.repeats();
        let says_otherwise = self.says_otherwise("status", "COMPLETED");
        if !is_completed || repeats || says_otherwise {
            return None;
        }
        let outcome = decision.text("outcome")?;
        // Of a second decision in another spelling it is enough here that it does not decide otherwise.
        let decides_otherwise = self.twins("decision").any(|twin| {
            let twin = Members::of(twin);
            twin.is_none_or(|twin| twin.text("outcome").as_ref() != Some(&outcome))
        });
        let is_plain = !decides_otherwise && !decision.says_otherwise("outcome", &outcome);
        is_plain.then_some(outcome)
    }

    /// The values of the members that are called like this but for case and underscores, unless they are null.
    fn twins(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let plain = |name: &str| name.replace('_', "").to_lowercase();
        let wanted = (name.to_owned(), plain(name));
        self.0
            .iter()
            .filter(move |(known, _)| *known != wanted.0 && plain(known) == wanted.1)
            .map(|(_, value)| *value)
            .filter(|value| *value != b"null")
    }

    /// Whether a member that is called like this but for case and underscores says something else.
    pub(crate) fn says_otherwise(&self, name: &str, text: &str) -> bool {
        self.twins(name)
            .any(|twin| serde_json::from_slice::<String>(twin).ok().as_deref() != Some(text))
    }
}

/// How long the text is that it begins with, quotes included.
fn length_of_text(json: &[u8]) -> Option<usize> {
    let mut is_escaped = false;
    let inner = json.strip_prefix(b"\"")?;
    let end = inner.iter().position(|byte| {
        let ends = *byte == b'"' && !is_escaped;
        is_escaped = *byte == b'\\' && !is_escaped;
        ends
    })?;
    Some(end + 2)
}

/// How long the value is that it begins with, up to the comma or bracket that ends it.
fn length_of_value(json: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match json.get(at)? {
            b',' | b'}' | b']' if depth == 0 => return Some(at),
            b'"' => {
                at += length_of_text(&json[at..])?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}
