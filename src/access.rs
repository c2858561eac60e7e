//! Who belongs: the callers, what they may do, for which tenants, and how much of the gateway one of them can take.
//!
//! A caller is known by a token or by a name in its client certificate. Only hashes of tokens are kept, and they are
//! compared in constant time. Whoever shows something that is wrong is nobody, whatever else it shows.

mod caller;
mod callers;
mod credential;
mod shares;
mod token;

pub use caller::{Caller, Right, Rights};
pub use callers::{Ambiguous, Callers, Changes};
pub use credential::{Credential, certificate_name};
pub use shares::{Claimant, Full, Share, Shares};
pub use token::{Token, TokenHash};

/// The name of every caller where none is configured.
pub const ANONYMOUS: &str = "anonymous";
