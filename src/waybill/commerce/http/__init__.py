"""HTTP pieces that the services' own routes need: strict bodies, problems, cursors, negotiation.

They stand here and not in `platform.http` because services may not import the platform; what is
put around the routes (edge, actuator, documentation, server) is `waybill.platform.http`.
"""
