"""What a browser answers for a passkey, verified by `webauthn` (WebAuthn Level 3, sections 7.1 and 7.2).

User presence and user verification are required; the algorithms are Ed25519 and ES256. No attestation is asked for, and
what one says is not relied on. A page that embeds ours (`crossOrigin`) is refused, which the library leaves to us.
The library takes 0.2 s to load: `load` does it, on a thread, before the first ceremony.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from briefcase.core.jose.base64url import JoseError, decode_base64url
from briefcase.core.json.strict import parse as parse_json
from briefcase.core.signers.keys import NewPasskey
from briefcase.model.errors import CallerError
from briefcase.model.types import JsonObject

if TYPE_CHECKING:
    from briefcase.core.signers.signers import Signer


def load() -> None:
    """Load the library, for a thread."""
    import_module("webauthn")


class BrowserPasskeys:
    """Verifies what browsers answer (`signers.keys.Passkeys`)."""

    def check_registration(self, credential: JsonObject, challenge: bytes, rp_id: str, origin: str) -> NewPasskey:
        """Verify a new passkey. Raises as `Passkeys.check_registration`."""
        from webauthn import verify_registration_response
        from webauthn.helpers.cose import COSEAlgorithmIdentifier
        from webauthn.helpers.exceptions import WebAuthnException

        _check_top_level(credential)
        try:
            made = verify_registration_response(
                credential=dict(credential),
                expected_challenge=challenge,
                expected_rp_id=rp_id,
                expected_origin=origin,
                require_user_verification=True,
                supported_pub_key_algs=[COSEAlgorithmIdentifier.EDDSA, COSEAlgorithmIdentifier.ECDSA_SHA_256],
            )
        except (WebAuthnException, ValueError, TypeError, KeyError) as error:
            raise _refused(error) from None
        return NewPasskey(made.credential_id, made.credential_public_key, made.sign_count)

    def check_assertion(self, credential: JsonObject, challenge: bytes, signer: Signer) -> int:
        """Verify a passkey's signature. Raises as `Passkeys.check_assertion`."""
        from webauthn import verify_authentication_response
        from webauthn.helpers.exceptions import WebAuthnException

        _check_top_level(credential)
        if credential.get("id") != signer.credential_id_b64:
            raise CallerError("another passkey answered than was asked", code="invalid_signature")
        try:
            verified = verify_authentication_response(
                credential=dict(credential),
                expected_challenge=challenge,
                expected_rp_id=signer.rp_id,
                expected_origin=signer.origin,
                credential_public_key=decode_base64url(signer.public_key_b64),
                credential_current_sign_count=signer.sign_count,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, TypeError, KeyError) as error:
            raise _refused(error) from None
        return verified.new_sign_count


def _check_top_level(credential: JsonObject) -> None:
    """Check that the page was not embedded in another one when the passkey was used."""
    response = credential.get("response")
    encoded = response.get("clientDataJSON") if isinstance(response, dict) else None
    try:
        data = parse_json(decode_base64url(encoded)) if isinstance(encoded, str) else None
    except (JoseError, CallerError):
        data = None
    if not isinstance(data, dict):
        raise CallerError("expected `credential` as the browser writes it (`toJSON`)", code="invalid_signature")
    if data.get("crossOrigin", False) is not False or "topOrigin" in data:
        raise CallerError("the page was embedded in another page", code="invalid_signature")


def _refused(error: Exception) -> CallerError:
    return CallerError(
        "the passkey's answer does not verify", code="invalid_signature", detail=f"{type(error).__name__}: {error}"
    )
