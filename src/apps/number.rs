//! Whole numbers as flags take them.

/// Reads how many there are to be, at least one.
pub fn from_one(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("write a whole number above zero, as in 10".into()),
    }
}

/// Reads the place of a message in the log.
pub fn sequence(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| "write a sequence, which is a whole number as `tilde publish` prints it, as in 1042".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_such_number_is_refused() {
        assert_eq!((from_one("1"), sequence("0")), (Ok(1), Ok(0)));
        for bad in ["0", "-1", "", "1.5", "ten"] {
            assert!(from_one(bad).is_err(), "{bad}");
        }
        for bad in ["-1", "", "abc"] {
            assert!(sequence(bad).is_err(), "{bad}");
        }
    }
}
