//! Signatures by Standard Webhooks (<https://www.standardwebhooks.com>): HMAC-SHA256 of id, time and body. Pure.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// The value of `webhook-signature`: one signature a key, with blanks in between.
pub fn signatures(keys: &[Vec<u8>], id: &str, timestamp: &str, body: &[u8]) -> String {
    let signed = keys.iter().map(|key| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of HMAC may have any length");
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    });
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Hidden;

    #[test]
    fn it_is_the_signature_of_the_specification() {
        let key = Hidden::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").key().unwrap();
        let sign = |keys: &[Vec<u8>]| {
            signatures(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", br#"{"test": 2432232314}"#)
        };
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(std::slice::from_ref(&key)), expected);
        let two = sign(&[vec![1; 24], key]);
        assert!(two.starts_with("v1,") && two.ends_with(&format!(" {expected}")), "{two}");
    }
}
