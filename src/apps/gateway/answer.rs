//! What a back end answers: a first line with the status, and all that follows as the body. Pure.

use bytes::Bytes;
use http::StatusCode;

/// An answer that can be given to a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200 to 599.
    pub status: StatusCode,
    /// Byte for byte as it was written.
    pub body: Bytes,
}

/// How far an answer has come, as far as its bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It has a status and a body.
    Full,
    /// It has a status and nothing else: perhaps the body is still to be written.
    Bare,
    /// It has no status: perhaps it is still to be written.
    Bad,
}

impl Answer {
    /// Reads one. The first line ends with `\n` or `\r\n`, or with the answer. The error says what is wrong with it.
    pub fn read(bytes: Bytes) -> Result<Answer, String> {
        let end = memchr::memchr(b'\n', &bytes);
        let line = &bytes[..end.unwrap_or(bytes.len())];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if bytes.is_empty() {
            return Err("it is empty".into());
        }
        let number = (line.len() == 3).then(|| StatusCode::from_bytes(line).ok()).flatten();
        let shown = || String::from_utf8_lossy(&line[..line.len().min(40)]).into_owned();
        let status = number.ok_or_else(|| format!("its first line is {:?}, and no status", shown()))?;
        // 100 to 199 announce another answer, which will not come.
        if !(200..600).contains(&status.as_u16()) {
            return Err(format!("{status} is no status of an answer: 200 to 599 are"));
        }
        let body = end.map_or(Bytes::new(), |end| bytes.slice(end + 1..));
        Ok(Answer { status, body })
    }

    /// How far these bytes have come.
    pub fn stage(bytes: &Bytes) -> Stage {
        match Answer::read(bytes.clone()) {
            Ok(answer) if answer.body.is_empty() => Stage::Bare,
            Ok(_) => Stage::Full,
            Err(_) => Stage::Bad,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &'static str) -> Result<(u16, &'static [u8]), String> {
        let answer = Answer::read(Bytes::from_static(text.as_bytes()))?;
        Ok((answer.status.as_u16(), &text.as_bytes()[text.len() - answer.body.len()..]))
    }

    #[test]
    fn the_first_line_is_the_status_and_the_rest_the_body() {
        assert_eq!(read("200\nhi"), Ok((200, b"hi".as_slice())));
        assert_eq!(read("404\r\na\r\nb\n"), Ok((404, b"a\r\nb\n".as_slice())));
        assert_eq!((read("204"), read("599\n")), (Ok((204, b"".as_slice())), Ok((599, b"".as_slice()))));
        for bad in [
            "",
            "\n",
            "OK\n",
            "2000\nx",
            "600\nx",
            "099\nx",
            "100\nx",
            "199\n",
            "+20\n",
            " 200\n",
            "Reponse code: 200\n",
        ] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_answer_without_a_body_may_be_half_of_one() {
        let stage = |text: &'static str| Answer::stage(&Bytes::from_static(text.as_bytes()));
        assert_eq!([stage("200\nx"), stage("200\n"), stage("200"), stage("20"), stage("")], {
            use Stage::{Bad, Bare, Full};
            [Full, Bare, Bare, Bad, Bad]
        });
    }

    proptest! {
        #[test]
        fn bodies_are_left_as_they_are(status in 200u16..600, body: Vec<u8>) {
            let bytes = [format!("{status}\n").as_bytes(), &body].concat();
            let answer = Answer::read(bytes.into()).unwrap();
            prop_assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, &body[..]));
        }
    }
}
