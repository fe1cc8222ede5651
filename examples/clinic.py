"""A clinic: visits are booked over HTTP, and every booking reaches the reminders exactly once.

Run it: DATABASE_URL=postgresql://… uvicorn clinic:app
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from fastapi import FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from waybill.messaging import EventType, JsonCodec, MessageUnit, MessagingService

URL = os.environ["DATABASE_URL"]
engine = create_async_engine(URL.replace("postgresql://", "postgresql+asyncpg://", 1))
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Base(DeclarativeBase):
    """The clinic's own tables."""


class Visit(Base):
    __tablename__ = "visits"
    id: Mapped[int] = mapped_column(primary_key=True)
    patient: Mapped[int]


class Reminder(Base):
    __tablename__ = "reminders"
    id: Mapped[int] = mapped_column(primary_key=True)
    visit_id: Mapped[int]


class VisitBooked(msgspec.Struct, frozen=True):
    """A visit stands in the calendar."""

    visit_id: int


messaging = MessagingService(
    "clinic",
    url=URL,
    engine=engine,
    codec=JsonCodec([EventType(VisitBooked, topic="visits", name="VisitBooked")]),
)


@messaging.handler("reminders", VisitBooked)
async def remind(booked: VisitBooked, unit: MessageUnit) -> None:
    """Commits together with the note that this message was applied."""
    unit.session.add(Reminder(visit_id=booked.visit_id))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await messaging.migrate()
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with messaging:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/visits", status_code=201)
async def book(patient: int) -> dict[str, int]:
    async with sessions() as session:
        visit = Visit(patient=patient)
        session.add(visit)
        await session.flush()
        unit = await messaging.join(session)
        unit.publish(VisitBooked(visit.id), key=str(visit.id))
        await session.commit()
        return {"id": visit.id}


@app.get("/reminders")
async def reminders() -> list[int]:
    async with sessions() as session:
        return list(await session.scalars(select(Reminder.visit_id).order_by(Reminder.visit_id)))
