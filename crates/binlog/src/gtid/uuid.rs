use std::fmt;
use std::str::FromStr;

/// A server's UUID, the first half of a MySQL GTID. Sixteen bytes; any value is valid, as for the server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

/// A text that is no UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no UUID")]
pub struct UuidError(pub String);

/// Where dashes stand in the text form: before these bytes.
const DASHES: [usize; 4] = [4, 6, 8, 10];

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if DASHES.contains(&i) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Uuid {
    type Err = UuidError;

    /// Reads `8-4-4-4-12`, and what the server accepts besides: upper case, no dashes at all, braces around it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || UuidError(text.to_owned());
        let bare = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).unwrap_or(text).as_bytes();
        let dashed = match bare.len() {
            36 => true,
            32 => false,
            _ => return Err(error()),
        };
        let mut bytes = [0; 16];
        let mut rest = bare.iter().copied();
        for (i, byte) in bytes.iter_mut().enumerate() {
            if dashed && DASHES.contains(&i) && rest.next() != Some(b'-') {
                return Err(error());
            }
            let mut digit = || rest.next().and_then(|c| char::from(c).to_digit(16)).ok_or_else(error);
            let (high, low) = (digit()?, digit()?);
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_forms_that_the_server_reads() {
        let uuid: Uuid = "3E11FA47-71CA-11E1-9E33-C80AA9429562".parse().unwrap();
        assert_eq!(uuid.to_string(), "3e11fa47-71ca-11e1-9e33-c80aa9429562");
        assert_eq!("3e11fa4771ca11e19e33c80aa9429562".parse(), Ok(uuid));
        assert_eq!("{3e11fa47-71ca-11e1-9e33-c80aa9429562}".parse(), Ok(uuid));
    }

    #[test]
    fn refuses_everything_else() {
        let long = "3e11fa47-71ca-11e1-9e33-c80aa94295620";
        for text in ["", "x", long, "3e11fa47071ca-11e1-9e33-c80aa9429562", "3e11fa47-71ca-11e1-9e33-c80aa942956g"] {
            assert_eq!(text.parse::<Uuid>(), Err(UuidError(text.into())));
        }
    }

    proptest! {
        #[test]
        fn parse_undoes_display(bytes: [u8; 16]) {
            prop_assert_eq!(Uuid(bytes).to_string().parse(), Ok(Uuid(bytes)));
        }

        #[test]
        fn never_panics(text in "\\PC{30,40}") {
            let _ = text.parse::<Uuid>();
        }
    }
}
