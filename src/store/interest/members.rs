//! The groups in the list of a word.

/// Most words have one member.
#[derive(Debug)]
pub(super) enum Members {
    One(Member),
    Many(Vec<Member>),
}

/// A group in a list, and which of its places that is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) group: u32,
    pub(super) place: u32,
}

/// What became of the place of a member that left.
pub(super) enum Left {
    /// This one is there now.
    Moved(Member),
    /// It was the last of several.
    Last,
    /// There is nobody any more.
    Nobody,
}

impl Members {
    pub(super) fn as_slice(&self) -> &[Member] {
        match self {
            Members::One(member) => std::slice::from_ref(member),
            Members::Many(members) => members,
        }
    }

    /// Returns where it is.
    pub(super) fn push(&mut self, member: Member) -> usize {
        match self {
            Members::One(first) => {
                *self = Members::Many(vec![*first, member]);
                1
            }
            Members::Many(members) => {
                members.push(member);
                members.len() - 1
            }
        }
    }

    pub(super) fn swap_remove(&mut self, at: usize) -> Left {
        let Members::Many(members) = self else {
            return Left::Nobody;
        };
        members.swap_remove(at);
        match (members.get(at), members.is_empty()) {
            (Some(moved), _) => Left::Moved(*moved),
            (None, true) => Left::Nobody,
            (None, false) => Left::Last,
        }
    }
}
