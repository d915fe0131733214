use anyhow::anyhow;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf, hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use tidegate_sdk::core::PayloadCodec;

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// AES-256-GCM, with a random nonce before each value.
pub struct Encryption {
    key: LessSafeKey,
    fingerprints: hmac::Key,
    random: SystemRandom,
}

impl Encryption {
    /// With a secret of at least 32 bytes.
    ///
    /// # Errors
    /// It is shorter.
    pub fn new(secret: &[u8]) -> anyhow::Result<Self> {
        if secret.len() < 32 {
            return Err(anyhow!("the secret has {} bytes; it must have 32", secret.len()));
        }
        // Two keys of one secret, so that fingerprints tell nothing of the other.
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, b"tidegate").extract(secret);
        let key_for = |purpose: &[u8]| {
            let mut key = [0; 32];
            let filled =
                derived.expand(&[purpose], hkdf::HKDF_SHA256).and_then(|derived| derived.fill(&mut key));
            filled.map(|()| key).map_err(|_| anyhow!("no key can be made of the secret"))
        };
        let key = UnboundKey::new(&AES_256_GCM, &key_for(b"values")?).map_err(|_| anyhow!("it is no key"))?;
        Ok(Self {
            key: LessSafeKey::new(key),
            fingerprints: hmac::Key::new(hmac::HMAC_SHA256, &key_for(b"fingerprints")?),
            random: SystemRandom::new(),
        })
    }
}

impl PayloadCodec for Encryption {
    fn name(&self) -> &str {
        "aes-256-gcm"
    }

    fn encode(&self, data: &[u8]) -> Result<Vec<u8>, Fault> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| "there is no randomness")?;
        let mut sealed = data.to_vec();
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce_of, Aad::empty(), &mut sealed)
            .map_err(|_| "it cannot be sealed")?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn decode(&self, data: &[u8]) -> Result<Vec<u8>, Fault> {
        let (nonce, sealed) = data.split_at_checked(NONCE_LEN).ok_or("it is too short")?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| "it has no nonce")?;
        let mut opened = sealed.to_vec();
        let value = self.key.open_in_place(nonce, Aad::empty(), &mut opened);
        Ok(value.map_err(|_| "it was sealed with another key, or has been changed")?.to_vec())
    }

    fn fingerprint(&self, data: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(hmac::sign(&self.fingerprints, data).as_ref().to_vec())
    }
}
