"""One module a version; `down_revision` names the one before."""
