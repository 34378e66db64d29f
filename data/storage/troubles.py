"""What object storage refuses, said in one line: what, where, and what to do. Never with what was sent to it."""

import os
import re

from data.files import StorageError

GONE = {"NoSuchKey", "NoSuchUpload", "404", "NotFound", "304", "NotModified", "InvalidRange", "416"}
"""Codes that say: there is nothing to give (for 416: nothing behind what is there already)."""

MOVED = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
"""Codes that say: the object is not as the writer had seen it."""

_DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem"}
_NOT_KNOWN = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def code_of(error: BaseException) -> str:
    """The server's code for what it refused; empty where it was not the server that said it."""
    for one in (error, error.__cause__, error.__context__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
    return ""


def trouble(error: BaseException | str, where: str, bucket: str) -> StorageError:
    """The error to raise for one of the library's, or for a server's code."""
    code = error if isinstance(error, str) else code_of(error)
    text = "" if isinstance(error, str) else _without_secrets(str(error))
    if code == "NoSuchBucket":
        remedy = f"there is no bucket {bucket!r}: create it, or correct TEXTMILL_STORE"
    elif code in _DENIED:
        remedy = (
            f"access denied ({code}): the credentials that were found may not do that; the store needs to list the "
            "bucket, and to get, put and delete its objects"
        )
    elif code in _NOT_KNOWN:
        remedy = f"the server does not take these credentials ({code}): renew them (AWS_ACCESS_KEY_ID, AWS_PROFILE)"
    elif code:
        remedy = f"the server refused ({code}: {text})"
    elif _named(error, "Credential", "ProfileNotFound", "Token"):
        remedy = "no usable credentials were found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    else:
        remedy = (
            f"the server cannot be reached ({type(error).__name__}: {text}): check the network and AWS_ENDPOINT_URL; "
            "run it again to go on"
        )
    made = StorageError(f"Cannot use {where}: {' '.join(remedy.split())}.")
    made.code = code
    return made


def _named(error: BaseException | str, *parts: str) -> bool:
    chain = [] if isinstance(error, str) else [error, error.__cause__, error.__context__]
    return any(part in type(one).__name__ for one in chain if one for part in parts)


def _without_secrets(text: str) -> str:
    """A library's words without user names in addresses and without the values of the environment's credentials."""
    text = re.sub(r"//[^/@\s]+@", "//", text)
    for name in _SECRETS:
        if value := os.environ.get(name):
            text = text.replace(value, "***")
    return text[:300]
