"""How often somebody may call, log in or register: in memory, or shared by all through Redis."""
