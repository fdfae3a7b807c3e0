# SPDX-License-Identifier: GPL-2.0-only
"""Diagnosis of dsmip: captures as a story, and what is wrong with a machine.

A package of its own, which the daemon never loads.
"""
