"""The licence ids that the Hub knows.

As listed in https://huggingface.co/docs/hub/repositories-licenses.
"""

from __future__ import annotations

import difflib

from flowers_model.errors import UserError

_IDS = """
afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bigcode-openrail-m bigscience-bloom-rail-1.0
bigscience-openrail-m bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 c-uda cc cc-by-2.0
cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0
cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0
creativeml-openrail-m deepfloyd-if-license ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 gemma gfdl
gpl gpl-2.0 gpl-3.0 isc lgpl lgpl-2.1 lgpl-3.0 lgpl-lr llama2 lppl-1.3c mit mpl-2.0 ms-pl ncsa odbl
odc-by ofl-1.1 openrail openrail++ osl-3.0 other pddl postgresql unknown unlicense wtfpl zlib
"""
LICENSES = frozenset(_IDS.split())


def check_license(license: str) -> None:
    """Check that the Hub knows a licence by this id.

    >>> check_license("apache-2.0")

    Raises:
        UserError: if it does not; the message names the ids that are most like it.
    """
    if license in LICENSES:
        return
    close = difflib.get_close_matches(license.lower(), sorted(LICENSES), n=3)
    hint = f"did you mean {', '.join(close)}?" if close else "give an id such as apache-2.0"
    raise UserError(
        f"the Hub knows no licence {license!r}: {hint} "
        "(all are in https://huggingface.co/docs/hub/repositories-licenses)"
    )
