"""An application that uses SQLAlchemy: its ORM by psycopg, and by asyncpg."""
import asyncio
import time

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, selectinload

from proxied import DATABASE, HOST, PASSWORD, PORT, STATEMENT, USER, check, restart


class Base(DeclarativeBase):
    pass


class Customer(Base):
    __tablename__ = "customer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    orders: Mapped[list["Order"]] = relationship(back_populates="customer", cascade="all, delete-orphan")


class Order(Base):
    __tablename__ = "customer_order"
    id: Mapped[int] = mapped_column(primary_key=True)
    customer_id: Mapped[int] = mapped_column(sa.ForeignKey("customer.id"))
    amount: Mapped[int]
    about: Mapped[dict] = mapped_column(sa.JSON)
    customer: Mapped[Customer] = relationship(back_populates="orders")


def url(driver):
    return sa.URL.create(f"postgresql+{driver}", USER, PASSWORD, HOST, PORT, DATABASE)


# In statement mode nothing may begin a transaction.
options = {"isolation_level": "AUTOCOMMIT"} if STATEMENT else {}


def orm(engine):
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all(Customer(name=f"c{i}", orders=[Order(amount=i * n, about={"n": n}) for n in range(5)]) for i in range(50))
        session.commit()
        check("sum", session.scalar(sa.select(sa.func.sum(Order.amount))), sum(i * n for i in range(50) for n in range(5)))
        for _ in range(3):
            found = session.scalars(sa.select(Customer).where(Customer.name.in_(["c3", "c4"])).options(selectinload(Customer.orders)).order_by(Customer.id)).all()
            check("orders", [len(c.orders) for c in found], [5, 5])
        found[0].name = "renamed"
        session.delete(found[1])
        session.commit()
        check("count", session.scalar(sa.select(sa.func.count(Order.id))), 245)
        session.add(Customer(name="renamed"))
        try:
            session.commit()
            raise SystemExit("a duplicate was accepted")
        except exc.IntegrityError:
            session.rollback()
        if not STATEMENT:
            session.add(Customer(name="kept"))
            try:
                with session.begin_nested():
                    session.add(Customer(name="renamed"))
            except exc.IntegrityError:
                pass
            session.commit()
            check("savepoint", session.scalar(sa.select(sa.func.count()).where(Customer.name == "kept")), 1)
            session.execute(sa.delete(Order))
            session.rollback()
            rows = session.execute(sa.select(Order).execution_options(yield_per=50))  # a server-side cursor
            check("cursor", sum(1 for _ in rows), 245)
            customer = session.scalar(sa.select(Customer).where(Customer.name == "c5").with_for_update(skip_locked=True))
            check("FOR UPDATE", customer.name, "c5")
            session.commit()
    check("reflection", sorted(sa.inspect(engine).get_table_names()), ["customer", "customer_order"])


async def asynchronous():
    engine = create_async_engine(url("asyncpg"), pool_size=8, pool_pre_ping=True, **options)
    maker = async_sessionmaker(engine)
    async with maker() as session:
        check("count", await session.scalar(sa.select(sa.func.count(Order.id))), 245)

    async def raise_amounts(n):
        for i in range(10):
            async with maker() as session:
                order = sa.select(Order.id).order_by(Order.id).offset(n * 10 + i).limit(1).scalar_subquery()
                await session.execute(sa.update(Order).where(Order.id == order).values(amount=Order.amount + 1))
                await session.commit()
    async with maker() as session:
        before = await session.scalar(sa.select(sa.func.sum(Order.amount)))
    await asyncio.gather(*(raise_amounts(n) for n in range(12)))
    async with maker() as session:
        check("raised", await session.scalar(sa.select(sa.func.sum(Order.amount))), before + 120)
    await engine.dispose()


# Looking for hstore would begin a transaction.
engine = sa.create_engine(url("psycopg"), pool_size=4, pool_pre_ping=True, use_native_hstore=False, **options)
orm(engine)
asyncio.run(asynchronous())
restart()
deadline = time.monotonic() + 60
while True:  # pool_pre_ping replaces what was lost
    try:
        with Session(engine) as session:
            check("after the restart", session.scalar(sa.select(sa.func.count(Order.id))), 245)
        break
    except exc.OperationalError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.1)
Base.metadata.drop_all(engine)
engine.dispose()
print("done", flush=True)
