//! What lies under an error of the transport's.

use std::{error::Error, io, iter};

/// The error of this kind among those that led to this one.
pub(super) fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// What the first of the errors says that led to this one.
pub(super) fn innermost(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map_or_else(String::new, <_>::to_string)
}

/// The error and all that led to it, in one line.
pub(super) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<_> = chain(error).map(<_>::to_string).collect();
    texts.join(": ")
}

/// The error itself, and each one that led to the one before.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error| below(*error))
}

/// The source of an I/O error is that of the error that it wraps, which would be left out.
fn below<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls;

    use super::*;

    #[test]
    fn an_error_inside_an_io_error_is_found() {
        let inner = rustls::Error::NoCertificatesPresented;
        let outer = io::Error::other(io::Error::other(inner.clone()));
        assert_eq!(cause::<rustls::Error>(&outer), Some(&inner));
        assert_eq!(innermost(&outer), inner.to_string());
        assert!(cause::<rustls::Error>(&io::Error::other("x")).is_none());
    }
}
