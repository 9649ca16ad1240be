//! The file of an export: a line that says what it is, then pieces, each with its length before it as a varint and its
//! checksum at its end. Never talks to a broker.

use std::{
    io::{self, Read, Write},
    ops::AddAssign,
};

use prost::Message as _;

use crate::{
    apps::failure::Failure,
    pb::v1::{self as pb, TransferEnd, piece::Piece},
};

/// The first line. Another form has another number, and this one must still be read.
const FIRST_LINE: &[u8] = b"tilde export 1\n";
/// `Piece.crc32c` as it stands at the end of a piece: this tag, and four bytes.
const TAG: u8 = 15 << 3 | 5;
const CHECKSUM: usize = 5;
/// No piece has more bytes.
const MOST: usize = 8 << 20;

/// Writes a file.
pub struct Writer<W> {
    out: W,
    /// Bytes so far.
    pub bytes: u64,
}

impl<W: Write> Writer<W> {
    /// Begins one.
    pub fn begin(mut out: W) -> io::Result<Self> {
        out.write_all(FIRST_LINE)?;
        Ok(Writer { out, bytes: FIRST_LINE.len() as u64 })
    }

    /// Adds a piece.
    pub fn write(&mut self, piece: &pb::Piece) -> io::Result<()> {
        let mut bytes = pb::Piece { piece: piece.piece.clone(), crc32c: 0 }.encode_to_vec();
        let checksum = crc32c::crc32c(&bytes);
        bytes.push(TAG);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        let mut length = Vec::new();
        prost::encode_length_delimiter(bytes.len(), &mut length).expect("a vector grows");
        self.out.write_all(&length)?;
        self.out.write_all(&bytes)?;
        self.bytes += (length.len() + bytes.len()) as u64;
        Ok(())
    }

    /// Nothing more comes.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads a file, and holds that it is one, and whole.
pub struct Reader<R> {
    input: R,
    name: String,
    at: u64,
    came: TransferEnd,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the first line. `name` is what the file is called.
    pub fn begin(mut input: R, name: &str) -> anyhow::Result<Self> {
        let mut line = [0; FIRST_LINE.len()];
        let read = read_full(&mut input, &mut line)?;
        if line[..read] != *FIRST_LINE {
            let hint = match line.starts_with(b"tilde export ") {
                true => "another version of tilde wrote it: import it with that one, or a newer one",
                false => "name a file that `tilde export` wrote",
            };
            return Err(Failure::new(format!("{name} is no export that this version of tilde knows"))
                .hint(hint)
                .into());
        }
        let (at, came) = (FIRST_LINE.len() as u64, TransferEnd::default());
        Ok(Reader { input, name: name.to_owned(), at, came, ended: false })
    }

    /// The next piece; none behind the last one.
    pub fn piece(&mut self) -> anyhow::Result<Option<Piece>> {
        let Some(length) = self.length()? else {
            return match self.ended {
                true => Ok(None),
                false => Err(self.cut_off()),
            };
        };
        if self.ended {
            return Err(self.damaged("something behind its end"));
        }
        if !(CHECKSUM..=MOST).contains(&length) {
            return Err(self.damaged("a length that no piece has"));
        }
        let mut bytes = vec![0; length];
        if read_full(&mut self.input, &mut bytes)? < length {
            return Err(self.cut_off());
        }
        let (body, checksum) = bytes.split_at(length - CHECKSUM);
        if checksum[0] != TAG || checksum[1..] != crc32c::crc32c(body).to_le_bytes() {
            return Err(self.damaged("a piece whose checksum is another one"));
        }
        let piece = pb::Piece::decode(body).ok().and_then(|piece| piece.piece);
        let Some(piece) = piece else { return Err(self.damaged("a piece that this version of tilde does not know")) };
        self.count(&piece)?;
        self.at += (prost::length_delimiter_len(length) + length) as u64;
        Ok(Some(piece))
    }

    /// Counts what came, which the last piece must say as well.
    fn count(&mut self, piece: &Piece) -> anyhow::Result<()> {
        match piece {
            Piece::Namespace(_) => {}
            Piece::Schemas(moved) => {
                self.came.schemas.add_assign(moved.schemas.len() as u64);
                self.came.subjects.add_assign(moved.subjects.len() as u64);
            }
            Piece::Messages(moved) => self.came.messages.add_assign(moved.messages.len() as u64),
            Piece::Scheduled(moved) => self.came.scheduled.add_assign(moved.messages.len() as u64),
            Piece::Subscription(_) => self.came.subscriptions += 1,
            Piece::End(end) if *end != self.came => return Err(self.damaged("an end that counted more than is there")),
            Piece::End(_) => self.ended = true,
        }
        Ok(())
    }

    /// The length before a piece; none at the end of the file.
    fn length(&mut self) -> anyhow::Result<Option<usize>> {
        let mut length = 0;
        for shift in (0..35).step_by(7) {
            let mut byte = [0];
            if read_full(&mut self.input, &mut byte)? == 0 {
                return if shift == 0 { Ok(None) } else { Err(self.cut_off()) };
            }
            length |= usize::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(Some(length));
            }
        }
        Err(self.damaged("a length that no piece has"))
    }

    fn damaged(&self, what: &str) -> anyhow::Error {
        let message = format!("{} is damaged: at byte {} there is {what}", self.name, self.at);
        Failure::new(message).hint("export again, or take another copy of the file").into()
    }

    fn cut_off(&self) -> anyhow::Error {
        let message =
            format!("{} is not whole: it ends in the middle, the piece at byte {} is missing", self.name, self.at);
        Failure::new(message).hint("export again, or take another copy of the file").into()
    }
}

/// Fills the buffer as far as there is anything. Answers how far.
fn read_full(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while read < buffer.len() {
        match input.read(&mut buffer[read..]) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::{
        Message, MovedMessages, MovedSchema, MovedSchemas, MovedSubject, MovedSubscription, Namespace, Schema,
    };

    fn pieces() -> Vec<Piece> {
        let messages =
            |count| MovedMessages { messages: vec![Message { topic: "t".into(), ..Default::default() }; count] };
        let end = TransferEnd { messages: 3, scheduled: 1, subscriptions: 1, ..Default::default() };
        vec![
            Piece::Namespace(Namespace { name: "team".into(), ..Default::default() }),
            Piece::Messages(messages(1)),
            Piece::Messages(messages(2)),
            Piece::Scheduled(messages(1)),
            Piece::Subscription(MovedSubscription { position: 7, ..Default::default() }),
            Piece::End(end),
        ]
    }

    fn written(pieces: &[Piece]) -> Vec<u8> {
        let mut writer = Writer::begin(Vec::new()).unwrap();
        pieces.iter().for_each(|piece| writer.write(&pb::Piece { piece: Some(piece.clone()), crc32c: 0 }).unwrap());
        let bytes = writer.bytes;
        let file = writer.finish().unwrap();
        assert_eq!(file.len() as u64, bytes);
        file
    }

    fn read(file: &[u8]) -> Result<Vec<Piece>, String> {
        let told = |error: anyhow::Error| error.to_string();
        let mut reader = Reader::begin(file, "it").map_err(told)?;
        let mut pieces = Vec::new();
        while let Some(piece) = reader.piece().map_err(told)? {
            pieces.push(piece);
        }
        Ok(pieces)
    }

    /// As version 1 wrote it. Later versions must still read it.
    const FIXTURE: &[u8] = b"tilde export 1\n\x0d\n\x06\n\x04team}\xf82\xe9\xcc\x0c\x12\x05\n\x03\n\x01t}h\xff_\xaf\x11\x12\n\n\x03\n\x01t\n\x03\n\x01t}#\xad\x1e_\x0c\x1a\x05\n\x03\n\x01t};\x02r\xe1\x09\x22\x02\x10\x07}\xaa\xbbE\x84\x0d*\x06\x08\x03\x10\x01\x18\x01}T\x8f'\x10";

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(FIXTURE).unwrap(), pieces());
        assert_eq!(written(&pieces()), FIXTURE);
    }

    /// As version 1 writes it where something is registered. A file without that is as it was before there were schemas.
    const REGISTERED: &[u8] = b"tilde export 1\n\r\n\x06\n\x04team}\xf82\xe9\xcc\x162\x0f\n\x08\n\x020\x01\x12\x02ab\x12\x03\n\x01s}\xde\xba\x87\x1d\x0c\x12\x05\n\x03\n\x01t}h\xff_\xaf\x11\x12\n\n\x03\n\x01t\n\x03\n\x01t}#\xad\x1e_\x0c\x1a\x05\n\x03\n\x01t};\x02r\xe1\t\"\x02\x10\x07}\xaa\xbbE\x84\x11*\n\x08\x03\x10\x01\x18\x01 \x01(\x01}O&\x08;";

    #[test]
    fn what_is_registered_is_read_and_counted() {
        let schema = MovedSchema { schema: Some(Schema { id: 1, ..Default::default() }), digest: "ab".into() };
        let subject = MovedSubject { subject: "s".into(), ..Default::default() };
        let moved = MovedSchemas { schemas: vec![schema], subjects: vec![subject] };
        let mut pieces = pieces();
        pieces.insert(1, Piece::Schemas(moved));
        assert!(read(&written(&pieces)).unwrap_err().contains("an end that counted more"));
        *pieces.last_mut().unwrap() =
            Piece::End(TransferEnd { messages: 3, scheduled: 1, subscriptions: 1, schemas: 1, subjects: 1 });
        assert_eq!(read(REGISTERED).unwrap(), pieces);
        assert_eq!(written(&pieces), REGISTERED);
    }

    #[test]
    fn a_file_that_is_not_whole_is_noticed_wherever_it_ends() {
        let file = written(&pieces());
        for length in 0..file.len() {
            let told = read(&file[..length]).unwrap_err();
            assert!(told.starts_with("it is not whole") || told.starts_with("it is no export"), "{length}: {told}");
        }
        let told = read(&written(&pieces()[..5])).unwrap_err();
        assert!(told.starts_with("it is not whole"), "{told}");
    }

    #[test]
    fn any_other_bit_is_noticed() {
        let file = written(&pieces());
        for bit in 0..8 * file.len() {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&damaged).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_noticed() {
        let mut less = pieces();
        less.remove(2);
        assert!(read(&written(&less)).unwrap_err().contains("an end that counted more"));
        let more = [pieces(), pieces()].concat();
        assert!(read(&written(&more)).unwrap_err().contains("something behind"));
        assert!(read(b"").unwrap_err().starts_with("it is no export"));
    }
}
