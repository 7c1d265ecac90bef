"""What the law, or a standard that binds like one, asks where a finding of a kind is made."""

from collections.abc import Mapping

_ACCURATE = "GDPR Art. 5(1)(d): personal data are accurate, and what is wrong is erased or rectified without delay."
_FAIR = (
    "GDPR Art. 22(3) and recital 71: who decides by machine prevents discrimination, by race, religion, health and the "
    "like, with measures that fit."
)

DUTIES: Mapping[str, str] = {
    "personal_data": (
        "GDPR Art. 5(1)(c): no more than the purpose needs; HIPAA 45 CFR 164.514(b)(2): names, dates, numbers and "
        "addresses of a patient are removed; PCI DSS 4.0.1 req. 3.5.1: stored card numbers are unreadable."
    ),
    "anonymity": (
        "GDPR recital 26: data are personal where someone can be singled out; HIPAA 45 CFR 164.514(b)(1): the risk of "
        "that is found to be very small, and how is written down."
    ),
    "proxy": f"GDPR Art. 9(1): what reveals a special category is one of them, also by inference. {_FAIR}",
    "representation": _FAIR,
    "label_balance": _FAIR,
    "conflict": _ACCURATE,
    "relabel": _ACCURATE,
    "outlier": _ACCURATE,
    "anomaly": _ACCURATE,
    "label": _ACCURATE,
    "missing": _ACCURATE,
    "drift": _ACCURATE,
    "duplicate": "GDPR Art. 5(1)(c): one record of a person is enough, where two say the same.",
    "leak": "GDPR Art. 5(1)(b): what was gathered after the event, for another purpose, is not used for this one.",
}
"""By kind of finding, and of `anonymity`; where the data are of no person, none of it is asked."""
