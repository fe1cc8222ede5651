"""Messaging inside the transactions of an application that uses SQLAlchemy on asyncpg.

    async with AsyncSession(engine) as session, session.begin():
        session.add(parcel)
        outbox.append(await join(session), [message])

The outbox, the inbox and all else on PostgreSQL take this transaction as they take their own.
"""
