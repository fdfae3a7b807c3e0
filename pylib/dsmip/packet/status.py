# SPDX-License-Identifier: GPL-2.0-only
"""Status codes of the answers of Mobile IPv6 and its extensions.

Messages hold plain integers, since a value that is not listed here may arrive;
members of these enums compare equal to them.
"""

from __future__ import annotations

import enum
from typing import Final


class BindingAckStatus(enum.IntEnum):
    """Status of a Binding Acknowledgement; below 128 the update was accepted.

    144 has two meanings: ``ID_MISMATCH`` (RFC 4285) and
    ``UDP_ENCAPSULATION_REFUSED`` (RFC 5555); see ``udp_refused``.
    """

    ACCEPTED = 0
    ACCEPTED_PREFIX_DISCOVERY = 1
    GRE_KEY_NOT_REQUIRED = 2
    GRE_WITHOUT_TLV_HEADER = 3
    MCOA_NOT_COMPLETE = 4
    MCOA_RETURN_HOME_WITHOUT_NDP = 5
    TRANSIENT_BINDING_IGNORED = 6
    REASON_UNSPECIFIED = 128
    ADMINISTRATIVELY_PROHIBITED = 129
    INSUFFICIENT_RESOURCES = 130
    HOME_REGISTRATION_NOT_SUPPORTED = 131
    NOT_HOME_SUBNET = 132
    NOT_HOME_AGENT = 133
    DUPLICATE_ADDRESS = 134
    SEQUENCE_OUT_OF_WINDOW = 135
    EXPIRED_HOME_NONCE = 136
    EXPIRED_CARE_OF_NONCE = 137
    EXPIRED_NONCES = 138
    REGISTRATION_TYPE_CHANGE = 139
    MOBILE_ROUTER_NOT_PERMITTED = 140
    INVALID_PREFIX = 141
    NOT_AUTHORIZED_FOR_PREFIX = 142
    FORWARDING_SETUP_FAILED = 143
    ID_MISMATCH = 144
    UDP_ENCAPSULATION_REFUSED = 144
    MESSAGE_ID_REQUIRED = 145
    AUTHENTICATION_FAILED = 146
    PERMANENT_TOKEN_UNAVAILABLE = 147
    CGA_VERIFICATION_FAILED = 148
    PERMANENT_TOKEN_EXISTS = 149
    NON_NULL_HOME_NONCE_EXPECTED = 150
    SERVICE_AUTHORIZATION_FAILED = 151
    PROXY_REGISTRATION_NOT_ENABLED = 152
    NOT_LMA_FOR_THIS_MOBILE_NODE = 153
    MAG_NOT_AUTHORIZED = 154
    NOT_AUTHORIZED_FOR_HOME_NETWORK_PREFIX = 155
    TIMESTAMP_MISMATCH = 156
    TIMESTAMP_LOWER_THAN_PREVIOUS = 157
    MISSING_HOME_NETWORK_PREFIX = 158
    PREFIX_SETS_DO_NOT_MATCH = 159
    MISSING_MOBILE_NODE_IDENTIFIER = 160
    MISSING_HANDOFF_INDICATOR = 161
    MISSING_ACCESS_TECHNOLOGY_TYPE = 162
    GRE_KEY_REQUIRED = 163
    MCOA_MALFORMED = 164
    MCOA_NON_MCOA_BINDING_EXISTS = 165
    MCOA_PROHIBITED = 166
    MCOA_UNKNOWN_CARE_OF_ADDRESS = 167
    MCOA_BULK_PROHIBITED = 168
    MCOA_HOME_AND_FOREIGN_PROHIBITED = 169
    NOT_AUTHORIZED_FOR_IPV4_MOBILITY = 170
    NOT_AUTHORIZED_FOR_IPV4_HOME_ADDRESS = 171
    NOT_AUTHORIZED_FOR_IPV6_MOBILITY = 172
    MULTIPLE_IPV4_HOME_ADDRESSES_NOT_SUPPORTED = 173
    INVALID_CARE_OF_ADDRESS = 174
    INVALID_GROUP_IDENTIFIER = 175
    REINIT_SA_WITH_HAC = 176
    NOT_AUTHORIZED_FOR_DELEGATED_PREFIX = 177
    REQUESTED_DELEGATED_PREFIX_IN_USE = 178


class BindingErrorStatus(enum.IntEnum):
    """Status of a Binding Error (RFC 6275 section 6.1.9)."""

    UNKNOWN_BINDING = 1
    UNKNOWN_TYPE = 2


class IPv4Status(enum.IntEnum):
    """Status of the IPv4 Address Acknowledgement option (RFC 5555 section 3.2.1)."""

    SUCCESS = 0
    REASON_UNSPECIFIED = 128
    ADMINISTRATIVELY_PROHIBITED = 129
    INCORRECT_HOME_ADDRESS = 130
    INVALID_ADDRESS = 131
    DYNAMIC_ASSIGNMENT_NOT_AVAILABLE = 132
    PREFIX_UNAUTHORIZED = 133


class DnsUpdateStatus(enum.IntEnum):
    """Status of the DNS Update option (RFC 5026 section 8.1)."""

    PERFORMED = 0
    REASON_UNSPECIFIED = 128
    ADMINISTRATIVELY_PROHIBITED = 129
    FAILED = 130


_NAME_TEXTS = {
    DnsUpdateStatus.PERFORMED: "updated",
    DnsUpdateStatus.REASON_UNSPECIFIED: "not updated",
    DnsUpdateStatus.ADMINISTRATIVELY_PROHIBITED: "not allowed",
    DnsUpdateStatus.FAILED: "the home agent could not update it",
}


def name_status(status: int) -> str:
    """Say what a status of the DNS Update option means."""
    try:
        return _NAME_TEXTS[DnsUpdateStatus(status)]
    except ValueError:
        return f"updated ({status})" if status < 128 else f"not updated ({status})"


class FlowStatus(enum.IntEnum):
    """Status of a Flow Identification option (RFC 6089 section 4.2)."""

    SUCCESS = 0
    PROHIBITED = 128
    REJECTED = 129
    MALFORMED = 130
    BID_NOT_FOUND = 131
    FID_NOT_FOUND = 132
    SELECTOR_NOT_SUPPORTED = 133


class RevocationTrigger(enum.IntEnum):
    """Why a binding is revoked (RFC 5846 section 5.1)."""

    UNSPECIFIED = 0
    ADMINISTRATIVE = 1
    INTER_MAG_SAME_ACCESS = 2
    INTER_MAG_OTHER_ACCESS = 3
    INTER_MAG_UNKNOWN = 4
    USER_INITIATED = 5
    ACCESS_NETWORK_TERMINATION = 6
    OUT_OF_SYNC = 7
    PER_PEER_POLICY = 128
    MOBILITY_POLICY = 129


class RevocationStatus(enum.IntEnum):
    """Status of a Binding Revocation Acknowledgement (RFC 5846 section 5.2)."""

    SUCCESS = 0
    PARTIAL_SUCCESS = 1
    BINDING_DOES_NOT_EXIST = 128
    IPV4_HOME_ADDRESS_REQUIRED = 129
    GLOBAL_NOT_AUTHORIZED = 130
    IDENTITIES_REQUIRED = 131
    MOBILE_NODE_ATTACHED = 132
    TRIGGER_NOT_SUPPORTED = 133
    FUNCTION_NOT_SUPPORTED = 134
    PROXY_NOT_SUPPORTED = 135


MEANINGS: Final[dict[int, str]] = {
    0: "accepted",
    1: "accepted, prefix discovery needed",
    4: "not all care-of addresses accepted",
    5: "return home without neighbour discovery",
    128: "refused, reason unspecified",
    129: "administratively prohibited",
    130: "insufficient resources",
    131: "home registration not supported",
    132: "not home subnet",
    133: "not home agent for this mobile node",
    134: "duplicate address detection failed",
    135: "sequence number out of window",
    136: "expired home nonce index",
    137: "expired care-of nonce index",
    138: "expired nonces",
    139: "registration type change disallowed",
    140: "mobile router operation not permitted",
    141: "invalid prefix",
    142: "not authorized for prefix",
    143: "forwarding setup failed, prefixes missing",
    144: "identification mismatch, or UDP encapsulation refused",
    145: "message identification required",
    146: "authentication failed",
    151: "service authorization failed",
    164: "Binding Identifier option malformed",
    165: "a binding without BID exists",
    166: "several care-of addresses prohibited",
    167: "care-of address of this BID unknown",
    168: "bulk registration prohibited",
    169: "simultaneous home and foreign binding prohibited",
    174: "invalid care-of address",
}


def udp_refused(status: int, force_udp: bool, replay_protection: bool) -> bool:
    """Tell whether ``status`` is RFC 5555's refusal of UDP encapsulation.

    The number 144 was given twice. It is RFC 5555's when the update had the F
    flag and no replay protection option, else it is RFC 4285's identification
    mismatch.
    """
    refused = status == BindingAckStatus.UDP_ENCAPSULATION_REFUSED
    return refused and force_udp and not replay_protection


def describe(status: int, force_udp: bool = False, replay_protection: bool = False) -> str:
    """Return words for a Binding Acknowledgement status, for logs and the command.

    The two flags are those of the update that was answered (see ``udp_refused``).
    """
    if status == BindingAckStatus.ID_MISMATCH and (force_udp or replay_protection):
        if udp_refused(status, force_udp, replay_protection):
            return "UDP encapsulation refused"
        return "identification mismatch"
    if status in MEANINGS:
        return MEANINGS[status]
    try:
        return BindingAckStatus(status).name.lower().replace("_", " ")
    except ValueError:
        return f"unknown status {status}"
