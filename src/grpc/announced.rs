//! How much of a message is yet to come, by what is written before it (gRPC over HTTP/2: `Length-Prefixed-Message`).
//!
//! tonic takes the memory for all of it at once.

/// A flag, and the length.
const PREFIX_BYTES: usize = 5;

/// Follows the messages of a request.
#[derive(Debug, Default)]
pub(super) struct Announced {
    prefix: [u8; PREFIX_BYTES],
    /// How much of the prefix is there.
    known: usize,
    /// How much of the message behind it is not.
    to_come: usize,
}

impl Announced {
    /// More of the request has come. Returns how much of the message that was begun has not.
    pub(super) fn follow(&mut self, mut data: &[u8]) -> usize {
        while !data.is_empty() {
            if self.to_come == 0 {
                let (begin, rest) = data.split_at(data.len().min(PREFIX_BYTES - self.known));
                self.prefix[self.known..][..begin.len()].copy_from_slice(begin);
                self.known += begin.len();
                data = rest;
                if self.known == PREFIX_BYTES {
                    let [_, length @ ..] = self.prefix;
                    (self.known, self.to_come) = (0, u32::from_be_bytes(length) as usize);
                }
            } else {
                let part = data.len().min(self.to_come);
                data = &data[part..];
                self.to_come -= part;
            }
        }
        self.to_come
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        let mut request = vec![0, 0, 0, 1, 2];
        request.extend([7; 258]);
        request.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 7, 7]);
        for length in 1..request.len() {
            let mut announced = Announced::default();
            let mut left = 0;
            for part in request.chunks(length) {
                left = announced.follow(part);
            }
            assert_eq!(left, 1, "{length}");
        }
        let mut announced = Announced::default();
        let left =
            [&request[..4], &request[4..5], &request[5..263]].map(|part| announced.follow(part));
        assert_eq!(left, [0, 258, 0]);
        assert_eq!(announced.follow(&[0, 255, 255, 255, 255]), 0xFFFF_FFFF);
    }
}
