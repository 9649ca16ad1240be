//! Limits as flags take them: a number, or `none`.

use std::{fmt, str::FromStr};

/// At most so many, or no limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit<T>(pub Option<T>);

impl<T: FromStr> FromStr for Limit<T>
where
    T::Err: fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Limit(None)),
            _ if text.starts_with('-') => Err("write a number above zero, or `none`".into()),
            _ => text.parse().map(|limit| Limit(Some(limit))).map_err(|error: T::Err| format!("{error}, or `none`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Size;

    #[test]
    fn limits_can_be_lifted() {
        assert_eq!("none".parse(), Ok(Limit::<u32>(None)));
        assert_eq!("10MiB".parse(), Ok(Limit(Some(Size(10 << 20)))));
        assert!("many".parse::<Limit<u32>>().unwrap_err().ends_with("or `none`"));
    }
}
