"""Connecting to a site: test, sign-in, consent, and watching its learning and federation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import words
from .address import Address, parse_address
from .cancel import CancelSwitch
from .client import SiteClient
from .consent import Consent, ConsentBook, consent_text
from .errors import ActionNotPossible, FedSegError, SignInNeeded
from .language import tr as _
from .panel import Panel
from .protocol import SiteInfo
from .settings import Settings
from .state import Action, Notice, Phase, Tone, notice_of
from .watching import Watch
from .worker import Lane, Report

Connect = Callable[[Address, "Path | None"], SiteClient]


class Connection:
    """The site that the panel talks to.

    Args:
        panel: the view and the foreground job.
        lane: thread for watching.
        connect: makes a client for an address and a CA file.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        panel: Panel,
        lane: Lane,
        settings: Settings,
        consents: ConsentBook,
        connect: Connect,
        clock: Callable[[], float],
    ) -> None:
        self._panel = panel
        self._lane = lane
        self._settings = settings
        self._consents = consents
        self._connect = connect
        self._clock = clock
        self._client: SiteClient | None = None
        self._remember = True
        self._after_consent: Callable[[Consent], None] | None = None
        self._after_yes: Callable[[], None] | None = None
        self.watch: Watch | None = None
        self.connected: Callable[[], None] = lambda: None
        """Called when a site was reached and knows the person."""
        panel.signed_out = self.end_watch

    def client(self) -> SiteClient:
        """The connected site.

        Raises:
            ActionNotPossible: there is none.
        """
        if self._client is None:
            raise ActionNotPossible(_("There is no connection."), _("Connect to a site first."))
        return self._client

    def site(self) -> SiteInfo:
        """What the connected site said about itself.

        Raises:
            ActionNotPossible: there is no connection.
        """
        site = self._panel.view.site
        if site is None:
            raise ActionNotPossible(_("There is no connection."), _("Connect to a site first."))
        return site

    def test(self, text: str) -> None:
        """Say in words whether the server can be reached, without connecting to it."""
        try:
            address = parse_address(text)
            client = self._client_for(address)
        except FedSegError as error:
            self._panel.change(notice=notice_of(error))
            return

        def work(cancel: CancelSwitch, report: Report) -> SiteInfo:
            return client.info(cancel)

        def failed(error: Exception) -> None:
            text = f"{_('Reachable; the site asks you to sign in.')} {words.link_words(address)}"
            asks = Notice(text, _("Press Connect."), Tone.GOOD)
            self._panel.change(testing=False, notice=asks if isinstance(error, SignInNeeded) else notice_of(error))

        def done(info: SiteInfo) -> None:
            self._panel.change(testing=False, notice=words.connection_answer(address, info))

        self._panel.change(testing=True, notice=None)
        self._lane.submit(work, done, failed)

    def connect(self, text: str, *, remember: bool = True) -> None:
        """Connect to a server; it is offered again next time if ``remember``."""
        if not self._panel.can(Action.CONNECT):
            return
        try:
            address = parse_address(text)
            self._client = self._connect(address, self._settings.ca_file)
        except FedSegError as error:
            self._panel.change(notice=notice_of(error))
            return
        self._remember = remember
        self._panel.change(address=address.url)
        self._ask_info()

    def sign_in(self, user: str, password: str) -> None:
        """Sign in where the site asked for it, then go on where it was interrupted."""
        if not self._panel.can(Action.SIGN_IN):
            return
        client = self.client()

        def work(cancel: CancelSwitch, report: Report) -> SiteInfo:
            client.sign_in(user, password, cancel)
            return client.info(cancel)

        self._panel.run(Phase.CONNECTING, _("Signing in …"), work, self._connected, Phase.SIGN_IN)

    def leave(self) -> None:
        """Let go of the server; late answers are dropped."""
        self.end_watch()
        self._client = None
        self._after_consent = None

    def _ask_info(self) -> None:
        client = self.client()

        def work(cancel: CancelSwitch, report: Report) -> SiteInfo:
            return client.info(cancel)

        self._panel.run(
            Phase.CONNECTING,
            _("Connecting to {url} …").format(url=client.address.url),
            work,
            self._connected,
            Phase.OFFLINE,
        )

    def _connected(self, info: SiteInfo) -> None:
        client = self.client()
        if self._remember:
            self._settings.remember_server(client.address.url)
        names = [model.name for model in info.models]
        model = self._panel.view.model if self._panel.view.model in names else (names[0] if names else "")
        phase = Phase.READY if self._panel.view.case is None else Phase.OPEN
        consented = self._consents.find(client.address) is not None
        self._panel.to(phase, site=info, model=model, consented=consented)
        if not info.stock:
            self.end_watch()
            self.watch = Watch(self._lane, client, self._clock, lambda: self._panel.view, self._panel.change)
        self.connected()

    def agree(self) -> None:
        """The person agrees to what was asked; what waited for it goes on."""
        once, self._after_yes = self._after_yes, None
        if once is not None:  # a question for this one time: nothing is remembered
            self._panel.change(consent_text=None)
            once()
            return
        consent = self._consents.give(self.client().address)
        waiting, self._after_consent = self._after_consent, None
        self._panel.change(consent_text=None, consented=True)
        if waiting is not None:
            waiting(consent)

    def decline(self) -> None:
        """The person does not agree; nothing is sent."""
        self._after_consent = self._after_yes = None
        self._panel.change(consent_text=None, notice=Notice(_("Nothing was sent."), _("You can agree at any time.")))

    def withdraw_consent(self) -> None:
        """Forget the consent for this server."""
        self._consents.withdraw(self.client().address)
        self._panel.change(consented=False, notice=Notice(_("Consent withdrawn. Nothing more is sent without asking.")))

    def consent(self) -> Consent | None:
        """The consent for the connected server, None when it was not given."""
        return self._consents.find(self.client().address)

    def with_consent(self, action: Callable[[Consent], None]) -> None:
        """Do ``action`` now if sending was agreed to, else ask, and do it when the person agrees."""
        consent = self.consent()
        if consent is not None:
            action(consent)
            return
        site = self._panel.view.site
        self._after_consent = action
        self._panel.change(consent_text=consent_text(self.client().address, site.site if site else ""), notice=None)

    def ask_once(self, text: str, action: Callable[[], None]) -> None:
        """Do ``action`` if the person agrees to this text; the answer is not remembered."""
        self._after_yes = action
        self._panel.change(consent_text=text, notice=None)

    def forget_waiting(self) -> None:
        """What waited for consent will not go on."""
        self._after_consent = self._after_yes = None
        self._panel.change(consent_text=None)

    def end_watch(self) -> None:
        """Stop watching the site."""
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.end()

    def _client_for(self, address: Address) -> SiteClient:
        if self._client is not None and self._client.address == address:
            return self._client
        return self._connect(address, self._settings.ca_file)
