"""`waybill audit`: proves from the databases alone that nothing was lost, doubled or stranded."""

from waybill.operations.audit.report import Outcome, Report, RuleResult
from waybill.operations.audit.rule import Kind
from waybill.operations.audit.run import AuditOptions, audit, matrix_of

__all__ = ["AuditOptions", "Kind", "Outcome", "Report", "RuleResult", "audit", "matrix_of"]
