use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::str::FromStr;

/// What tokens begin with, so that those who search texts for secrets find them.
const MARK: &str = "herring_";

/// Bytes of the longest text that is taken for a token; ours have 72.
const LONGEST: usize = 256;

/// A secret that says what its bearer may do. Nothing shows it but [`reveal`](Self::reveal).
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why a text is no token. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no token: one is a word of at most {LONGEST} letters, digits and signs other than , / : =, as herring token new prints it"
)]
pub struct TokenError;

impl Token {
    /// A new one of 32 random bytes, in hexadecimal digits.
    pub fn generate() -> io::Result<Self> {
        let mut bytes = [0; 32];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self(format!("{MARK}{digits}")))
    }

    /// The secret as it is shown to a node, or to its owner once.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let fits = |byte: u8| byte.is_ascii_graphic() && !b",/:=".contains(&byte);
        let is_one = (1..=LONGEST).contains(&text.len()) && text.bytes().all(fits);
        is_one.then(|| Self(text.to_owned())).ok_or(TokenError)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_random_and_never_shown() {
        let [one, other] = [(); 2].map(|()| Token::generate().unwrap());
        assert_ne!(one, other);
        assert!(one.reveal().starts_with(MARK) && one.reveal().len() == MARK.len() + 64);
        assert_eq!(one.reveal().parse(), Ok(one.clone()));
        assert_eq!(format!("{one:?}"), "Token(..)");
    }

    #[test]
    fn what_no_header_could_carry_is_no_token_and_not_repeated() {
        for wrong in ["", "a b", "a\n", "ä", "a:b", "a/b", "a,b", &"x".repeat(257)] {
            let told = wrong.parse::<Token>().unwrap_err().to_string();
            assert!(wrong.is_empty() || !told.contains(wrong), "{told}");
        }
    }
}
