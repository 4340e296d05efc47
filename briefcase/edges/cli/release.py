"""`briefcase release`: hold a release to what was signed of it, before it is installed."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from briefcase.edges.cli.app import App, json_option, pass_app
from briefcase.edges.cli.late import release_statement, release_verifying
from briefcase.edges.cli.lazy import LazyGroup, example
from briefcase.edges.cli.messages import note
from briefcase.edges.cli.progress import working


@click.group(cls=LazyGroup, epilog=example("briefcase release verify dist"))
def release() -> None:
    """Verify a release before it is installed."""


@release.command(
    epilog=example(
        "briefcase release verify dist",
        "briefcase release verify dist --key did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
    )
)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--key", "did", metavar="DID", help="The key that must have signed it, noted elsewhere.")
@json_option
@pass_app
def verify(app: App, *, directory: Path, did: str | None, as_json: bool) -> None:
    """Check a release: its signature, every file, and the SBOM in each wheel.

    Needs no daemon and no network. Names the first thing that differs and exits with 7. Without `--key` it shows that
    nothing changed since it was signed, not by whom it was signed.
    """
    with working("verifying"):
        verified = release_verifying.verify_release(directory, did)
    manifest = verified.manifest
    if as_json:
        app.json({"signed_by": verified.did, "is_pinned": verified.is_pinned, **msgspec.to_builtins(manifest)})
        return
    app.screen.line(f"{manifest.product} {manifest.version}, {len(manifest.artifacts)} files, nothing changed")
    app.screen.fields([("commit", manifest.commit), ("signed by", verified.did)])
    if not verified.is_pinned:
        note("signer not pinned: anyone can sign a release as themselves; give the `--key` you noted")
    if manifest.signing is release_statement.Signing.UNPINNED:
        note("the key was made for this release alone: it vouches for nobody")
